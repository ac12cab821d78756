"""BEiT v2: tell the codes of hidden patches, twice (arXiv 2208.06366)."""

__all__: list[str] = []
