"""MAGE: one training for generation and for features (arXiv 2211.09117)."""

__all__: list[str] = []
