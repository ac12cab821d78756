"""Built-in data sets: emoji, photographs at hand, digits, and procedural scenes, people, bands and volumes."""

__all__: list[str] = []
