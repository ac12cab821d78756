"""Class-conditional masked generators over the ids of TiTok."""

__all__: list[str] = []
