"""DMJD: two views that hide different patches, and a second branch for what is visible (arXiv 2301.00230)."""

__all__: list[str] = []
