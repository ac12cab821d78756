"""What every encoder asks of a mask before it uses it."""

from __future__ import annotations

from torch import Tensor

from mimgen.errors import UserError


def check_mask(masked: Tensor, images: int, patches: int) -> None:
    """Refuse a mask of another grid, which would mask other positions than it means, or of other images.

    Args:
        masked: [B, N] boolean.
        images: B that is expected.
        patches: N that is expected.

    Raises:
        UserError: another shape.
    """
    if masked.shape != (images, patches):
        raise UserError(
            f"the mask is {list(masked.shape)} for {images} images of {patches} patches: make one for the same "
            "images, on the encoder's own grid"
        )
