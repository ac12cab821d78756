"""Pure tensor functions; import each from its own module, for example `mimgen.ops.hog`."""

__all__: list[str] = []
