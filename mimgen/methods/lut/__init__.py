"""LUT: MAE, and the few visible patches of a view must tell what a teacher sees in the other (arXiv 2310.13593)."""

__all__: list[str] = []
