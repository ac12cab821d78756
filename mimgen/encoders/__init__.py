"""Encoders: what looks at pictures and words."""

from mimgen.encoders.clip import ClipTextEncoder
from mimgen.encoders.text import ByteTextEncoder, TextStates

__all__ = ["ByteTextEncoder", "ClipTextEncoder", "TextStates"]
