"""SatVision-TOA: a foundation model for all-sky satellite images (arXiv 2411.17000)."""

__all__: list[str] = []
