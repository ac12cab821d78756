"""Meissonic: a text-conditional masked token transformer (arXiv 2410.08261)."""

__all__: list[str] = []
