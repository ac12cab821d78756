"""AttMask: iBOT with the teacher's attention choosing what to hide (arXiv 2203.12719)."""

__all__: list[str] = []
