"""CroCo: complete a picture with the help of another view of the same scene (arXiv 2210.10716)."""

__all__: list[str] = []
