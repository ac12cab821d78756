"""LlamaGen's VQ tokenizer (arXiv 2406.06525)."""

__all__: list[str] = []
