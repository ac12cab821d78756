"""iBOT: the teacher's prototypes are an online tokenizer for hidden patches (arXiv 2111.07832)."""

__all__: list[str] = []
