"""MAE: masked autoencoders (arXiv 2111.06377)."""

__all__: list[str] = []
