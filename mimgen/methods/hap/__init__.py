"""HAP: body parts are hidden first, and two masked views of a person agree (arXiv 2310.20695)."""

__all__: list[str] = []
