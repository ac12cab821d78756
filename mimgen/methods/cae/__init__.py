"""CAE: tell the representations of hidden patches from the visible ones, and from them what is there (2202.03026)."""

__all__: list[str] = []
