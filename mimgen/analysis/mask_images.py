"""Images of masks: what is masked, what was predicted in its place, and guides that masks may follow."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.ops.hog import hog_cells
from mimgen.ops.tiling import paste
from mimgen.types import Mask

__all__ = ["centredness", "edge_energy", "masked_images", "reconstructed"]

SCORED, IGNORED = 0.5, 0.15  # grey of masked patches that are scored, and of those that are not


def masked_images(images: Tensor, mask: Mask, patch: int) -> Tensor:
    """Images with masked patches in grey, and nearly black where they are masked but not scored.

    Args:
        images: [B, 3, H, W] in [0, 1].
        mask: of their patches, row-major; rows may mask different numbers.
        patch: side of a patch in pixels.

    Returns:
        [B, 3, H, W].

    Raises:
        UserError: a mask of another grid.
    """
    _grid(images, mask.masked, patch)
    masked, scored = mask.masked.cpu(), mask.predict.cpu()
    shown = paste(images, torch.full_like(images, IGNORED), masked, patch)
    return paste(shown, torch.full_like(images, SCORED), masked & scored, patch)


def reconstructed(images: Tensor, predicted: Tensor, mask: Mask, patch: int) -> Tensor:
    """Images [B, 3, H, W] whose scored patches are those of `predicted`; visible patches are pasted as they are.

    Patches that are masked and not scored stay nearly black: nothing was predicted of them.
    """
    _grid(images, mask.masked, patch)
    return paste(masked_images(images, mask, patch), predicted, mask.predict.cpu(), patch)


def edge_energy(images: Tensor, patch: int) -> Tensor:
    """Sum of gradient magnitudes over the directions of each patch [B, N]; higher where there is more to see.

    Args:
        images: [B, 3, H, W] in [0, 1], sides multiples of the patch.
        patch: side of a patch in pixels.
    """
    return hog_cells(images, cell=patch).sum(1).flatten(1)  # [B, N]


def centredness(grid: tuple[int, int]) -> Tensor:
    """1 in the centre of the image and 0 in its corners [N], falling with the distance.

    Args:
        grid: rows and columns.
    """
    rows, columns = (torch.linspace(-1, 1, cells) if cells > 1 else torch.zeros(1) for cells in grid)
    distance = torch.hypot(rows[:, None], columns[None]).flatten()
    return 1 - distance / distance.amax().clamp(min=1e-12)


def guide_image(guide: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """A guide [N] in grey [3, h patch, w patch]: its smallest value black, its largest white."""
    low, high = guide.amin(), guide.amax()
    plane = ((guide - low) / (high - low).clamp(min=1e-12)).reshape(1, 1, *grid)  # [1, 1, h, w]
    return F.interpolate(plane.float(), scale_factor=float(patch))[0].expand(3, -1, -1)


def _grid(images: Tensor, masked: Tensor, patch: int) -> None:
    rows, columns = images.shape[-2] // patch, images.shape[-1] // patch
    if masked.shape != (len(images), rows * columns):
        raise UserError(
            f"a mask {list(masked.shape)} does not fit {len(images)} images of {rows} x {columns} patches of "
            f"{patch} pixels: give the patch that the mask was made for"
        )
