"""What is put in the place of masked tokens."""

from __future__ import annotations

from torch import Tensor

from mimgen.types import Mask


def with_mask_token(tokens: Tensor, mask: Mask, mask_id: int) -> Tensor:
    """Replace masked ids of tokens [B, N] by `mask_id`."""
    return tokens.masked_fill(mask.masked, mask_id)
