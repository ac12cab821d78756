"""The class-conditional masked token transformer of Halton-MaskGIT."""

__all__: list[str] = []
