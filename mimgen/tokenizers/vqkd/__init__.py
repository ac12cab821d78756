"""VQ-KD: the tokenizer of BEiT v2 (arXiv 2208.06366)."""

__all__: list[str] = []
