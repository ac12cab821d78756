"""What every encoder asks of a mask before it uses it."""

from __future__ import annotations

from torch import Tensor

from mimgen.errors import UserError


def check_hidden(hidden: Tensor, pictures: int, patches: int) -> None:
    """Refuse a mask of another grid, which would hide other places than it means, or of other pictures.

    Args:
        hidden: [B, N] boolean.
        pictures: B that is expected.
        patches: N that is expected.

    Raises:
        UserError: another shape.
    """
    if hidden.shape != (pictures, patches):
        raise UserError(
            f"the mask is {list(hidden.shape)} for {pictures} pictures of {patches} patches: make one for the same "
            "pictures, on the encoder's own grid"
        )
