"""Open-MAGVIT2: a convolutional tokenizer with binary codes (arXiv 2409.04410)."""

__all__: list[str] = []
