"""CCViT: predict the centroid of masked and of replaced patches, and their pixels (arXiv 2303.04664)."""

__all__: list[str] = []
