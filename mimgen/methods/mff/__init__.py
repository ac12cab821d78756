"""MFF: MAE whose decoder reads a learned mixture of low and high layers (arXiv 2308.00261)."""

__all__: list[str] = []
