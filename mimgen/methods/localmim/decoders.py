"""LocalMIM's decoders: one small transformer for a tapped layer, whose map is brought to its own scale."""

from __future__ import annotations

import dataclasses

import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.decoders.mae import MaeDecoder
from mimgen.errors import UserError
from mimgen.layers.blocks.conv import MapNorm
from mimgen.types import Mask, Tokens

SCALES = (4.0, 2.0, 1.0, 0.5)
_EPS = 1e-6  # of the norm between the two transposed convolutions


class LocalDecoder(MaeDecoder):
    """Decoder of one tap: its norm, MAE's decoder, then a map of cells (LocalMIM, section 3.3, figure 3).

    The norm belongs to the tap, not to the encoder's stream, and goes with the decoder after pretraining.

    Args:
        image_size: side in pixels, or (rows, columns), of the images that the position table is made for.
        patch: side of a patch in pixels.
        encoder_width: width of the encoder's tokens.
        width: of the decoder, a multiple of 4.
        depth: blocks.
        heads: attention heads.
        output: numbers predicted for a cell.
        scale: cells a side of a patch: 4, 2, 1, or 0.5 for one cell of 2 x 2 patches.
        prefix: class or register tokens of the encoder.
        mlp_ratio: hidden width of the MLPs over `width`.
        eps: of the layer norms.

    Attributes:
        dim: `output`.

    Raises:
        UserError: another scale.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch: int = 16,
        encoder_width: int = 768,
        width: int = 256,
        depth: int = 1,
        heads: int = 8,
        output: int = 27,
        scale: float = 1.0,
        prefix: int = 1,
        mlp_ratio: float = 4.0,
        eps: float = 1e-6,
    ) -> None:
        if scale not in SCALES:
            raise UserError(f"scale {scale}: choose one of {', '.join(f'{s:g}' for s in SCALES)}")
        super().__init__(image_size, patch, encoder_width, width, depth, heads, output, prefix, mlp_ratio, eps)
        self.scale = scale
        self.tap_norm = nn.LayerNorm(encoder_width, eps)
        # tokens stay as wide as they are until the map has its scale
        self.pred = nn.Identity()  # type: ignore[assignment]
        self.cells = nn.Sequential(*_rescaling(width, scale))
        self.cells.append(nn.Conv2d(int(width / max(1.0, scale)), output, 1))

    def forward(self, tokens: Tokens, mask: Mask) -> Tensor:
        """Predictions [B, cells, output] for all cells of the image, row-major.

        Args:
            tokens: after the tapped block, of the visible patches, ascending.
            mask: of all N patches.

        Raises:
            UserError: tokens that do not fit the mask, or a grid with an odd side for scale 0.5.
        """
        if self.scale < 1 and (tokens.grid[0] % 2 or tokens.grid[1] % 2):
            raise UserError(f"a grid of {tokens.grid} patches has no cells of 2 x 2: choose even sides")
        normed = dataclasses.replace(
            tokens, prefix=self.tap_norm(tokens.prefix), patches=self.tap_norm(tokens.patches)
        )
        plane = super().forward(normed, mask).transpose(1, 2).unflatten(2, tokens.grid)
        return self.cells(plane).flatten(2).transpose(1, 2)


def _rescaling(width: int, scale: float) -> list[nn.Module]:
    """Layers from a map of `width` channels to one of `scale` times the sides; finer maps have fewer channels."""
    if scale == 4:
        return [
            nn.ConvTranspose2d(width, width // 2, 2, 2),
            MapNorm(width // 2, _EPS),
            nn.GELU(),
            nn.ConvTranspose2d(width // 2, width // 4, 2, 2),
        ]
    if scale == 2:
        return [nn.ConvTranspose2d(width, width // 2, 2, 2)]
    return [nn.AvgPool2d(2)] if scale == 0.5 else []


def at_scale(masked: Tensor, grid: tuple[int, int], scale: float) -> Tensor:
    """How much of each cell is masked: a mask of patches brought to the cells of a scale.

    Args:
        masked: [B, N] boolean, the patches of `grid`.
        grid: rows and columns of patches.
        scale: cells a side of a patch, whole, or 0.5.

    Returns:
        [B, N scale^2] float32: 0 or 1 for finer cells, 0, 0.25, ... 1 for those of 2 x 2 patches.
    """
    plane = masked.float().unflatten(1, grid)[:, None]
    if scale < 1:
        return F.avg_pool2d(plane, round(1 / scale)).flatten(1)
    times = round(scale)
    return plane.repeat_interleave(times, 2).repeat_interleave(times, 3).flatten(1)
