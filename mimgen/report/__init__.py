"""Reports: result files, HTML pages, curves, tables and comparisons."""

__all__: list[str] = []
