"""What a pipeline returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mimgen.sampling import Sampled

__all__ = ["GenerationOutput"]


@dataclass(frozen=True)
class GenerationOutput(Sampled):
    """What a pipeline returns: what the sampler does, on the grid [B, h, w], and the images.

    Attributes:
        images: [B, 3, H, W] float32 in [0, 1]; Pillow's images where a diffusers pipeline was asked for them.
    """

    images: Any = field(kw_only=True)

    def to_tuple(self) -> tuple[Any, ...]:
        """Images, tokens, log_probs and unmasked_at, as diffusers' outputs do."""
        return self.images, self.tokens, self.log_probs, self.unmasked_at

    def __getitem__(self, key: int | slice | str) -> Any:
        """By name or by position in `to_tuple`."""
        return getattr(self, key) if isinstance(key, str) else self.to_tuple()[key]
