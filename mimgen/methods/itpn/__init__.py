"""iTPN: pretrain a backbone together with its feature pyramid (arXiv 2211.12735)."""

__all__: list[str] = []
