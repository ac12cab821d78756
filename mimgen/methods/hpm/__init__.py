"""HPM: hide the patches that a teacher expects to be hard, more of them as training proceeds (arXiv 2304.05919)."""

__all__: list[str] = []
