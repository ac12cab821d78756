"""SelectiveMAE: encode few informative patches and tell only few others (arXiv 2406.11933)."""

__all__: list[str] = []
