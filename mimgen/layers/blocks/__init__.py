"""Transformer blocks, one file an architecture."""

__all__: list[str] = []
