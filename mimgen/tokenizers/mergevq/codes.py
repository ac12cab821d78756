"""What an encoding pass of MergeVQ computes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mimgen.tokenizers.mergevq.encoder import Encoded
from mimgen.types import Codes


@dataclass(frozen=True)
class MergedCodes:
    """Everything that one encoding pass computes.

    Attributes:
        codes: ids and latents spread to the full grid, weighted losses, and the source matrix.
        encoded: tokens [B, 1 + K, D] before quantisation, class token first, with their sizes.
        before: [B, bits, K] latents before the signs.
        latents: [B, bits, K] their signs, straight-through while training.
        indices: [B, K] int64 ids of the kept tokens.
    """

    codes: Codes
    encoded: Encoded
    before: Tensor
    latents: Tensor
    indices: Tensor

    @property
    def source(self) -> Tensor:
        """[B, K, N] boolean; columns sum to 1."""
        return self.encoded.source

    @property
    def class_token(self) -> Tensor:
        """[B, D] before the head."""
        return self.encoded.class_token
