"""Transforms of images: resizing, crops, colour changes and views."""

__all__: list[str] = []
