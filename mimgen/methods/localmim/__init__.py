"""LocalMIM: several layers of the encoder reconstruct, low ones fine, high ones coarse cells (arXiv 2303.05251)."""

__all__: list[str] = []
