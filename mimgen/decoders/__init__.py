"""Decoders: from the tokens of an encoder to a prediction for every patch."""

__all__: list[str] = []
