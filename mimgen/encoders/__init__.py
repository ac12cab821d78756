"""Encoders: what looks at pictures and words."""

from mimgen.encoders.text import ByteTextEncoder, TextStates

__all__ = ["ByteTextEncoder", "TextStates"]
