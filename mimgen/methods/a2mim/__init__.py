"""A2MIM: masked modelling for any architecture, in pixels and frequencies (arXiv 2205.13943)."""

__all__: list[str] = []
