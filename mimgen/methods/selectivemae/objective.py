"""SelectiveMAE: encode few informative patches and predict only few others (arXiv 2406.11933).

Masked: all but a few patches with strong edges, and patches chosen by their likeness to these. In their place:
nothing. Looks: the encoder, then a decoder in which only scored patches ask. Targets: pixels. Loss: mean squared
error on the scored patches, a part of the masked ones.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.methods.mim import MIM
from mimgen.methods.selectivemae.decoder import SubsetDecoder
from mimgen.methods.selectivemae.masking import Selective
from mimgen.ops.hog import gradients, sobel_histograms
from mimgen.targets import Target
from mimgen.types import Batch, Mask

CELL, BINS, WINDOW, SIGMA = 8, 9, 16, 8.0


class SelectiveMAE(MIM):
    """Objective: mean over scored patches of the target's distance (SelectiveMAE, section 4).

    Args:
        encoder: leaves masked patches out; what is kept afterwards.
        decoder: predicts `target.dim` numbers for each scored patch.
        target: what is predicted.
        selection: which patches are seen and which are predicted; it changes with the progress of the run.
        score: "edges" samples patches by the strength of their gradients. "released" is what the official code
            does: its score is 0 for every patch, so patches are sampled evenly.

    Raises:
        UserError: parts that do not fit, or an unknown score.
    """

    encoder: VitEncoder

    def __init__(
        self,
        encoder: VitEncoder,
        decoder: SubsetDecoder | nn.Module,
        target: Target,
        selection: Selective | None = None,
        *,
        score: Literal["edges", "released"] = "edges",
    ) -> None:
        super().__init__(encoder, decoder, target, Selective() if selection is None else selection)
        if score not in ("edges", "released"):
            raise UserError(f'score {score!r} is unknown: choose "edges" or "released"')
        self.score = score

    @torch.no_grad()
    def mask(self, batch: Batch) -> Mask:
        """The mask of images [B, 3, H, W], one random stream per image."""
        assert isinstance(self.masking, Selective), "set when this objective was built"
        tokens, grid = self.tokens(batch.images)
        return self.masking(grid, batch.rng, self.guide(batch.images), tokens, batch.progress)

    def tokens(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Embedded patches with positions [B, N, D], which similarity is measured on, and the grid."""
        tokens, grid = self.encoder.embed(images)
        return tokens[:, self.encoder.prefix :], grid

    def guide(self, images: Tensor) -> Tensor:
        """[B, N] logits of the patches of images [B, 3, H, W]; informative patches have higher ones."""
        if self.score == "edges":
            return edge_strength(images.float(), self.encoder.patch)
        pixels = (images.float() - self.encoder.mean) / self.encoder.std
        return descriptors(pixels, self.encoder.patch).mean(-1)


def edge_strength(images: Tensor, patch: int) -> Tensor:
    """Mean gradient of every patch [B, N], in standard deviations above the mean of its image.

    Args:
        images: [B, C, H, W].
        patch: side of a patch in pixels.
    """
    strength = F.avg_pool2d(gradients(images)[0][:, None], patch).flatten(1)
    variance, mean = torch.var_mean(strength, dim=1, keepdim=True)
    return (strength - mean) / (variance + 1e-12).sqrt()


def descriptors(images: Tensor, patch: int) -> Tensor:
    """Gradient histograms of every patch [B, N, F], standardised over the numbers of each patch.

    So their mean is 0 whatever the patch shows, which is why the released score does not tell patches apart.

    Args:
        images: [B, C, H, W], H and W multiples of the window of 16 pixels.
        patch: side of a patch in pixels, a multiple of 8.
    """
    height, width = images.shape[-2:]
    if patch % CELL or height % WINDOW or width % WINDOW:
        raise UserError(
            f"the released score needs patches of a multiple of {CELL} pixels and sides of a multiple of {WINDOW}, "
            f'got {patch} and {width} x {height}: take score="edges"'
        )
    positions = torch.arange(WINDOW, device=images.device) - (WINDOW - 1) / 2
    curve = (-positions.square() / (2 * SIGMA**2)).exp()
    window = torch.outer(curve, curve)
    weights = (window / window.sum()).repeat(height // WINDOW, width // WINDOW)
    cells = sobel_histograms(images, cell=CELL, bins=BINS, weights=weights).flatten(1, 2)
    vectors = F.pixel_unshuffle(cells, patch // CELL).flatten(2).transpose(1, 2)
    variance, mean = torch.var_mean(vectors, dim=-1, keepdim=True)
    return (vectors - mean) / (variance + 1e-6).sqrt()
