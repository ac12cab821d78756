"""Token ids computed once and kept on disk."""

__all__: list[str] = []
