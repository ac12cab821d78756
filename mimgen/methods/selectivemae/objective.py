"""SelectiveMAE: encode few informative patches and tell only few others (arXiv 2406.11933).

Hidden: all but a few patches with strong edges, and patches chosen by their likeness to these. In their place:
nothing. Looks: the encoder, then a decoder in which only scored patches ask. Targets: pixels. Loss: mean squared
error on the scored patches, a part of the hidden ones.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.decoders.cross_attention import SubsetDecoder
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.methods.mim import MaskedModelling
from mimgen.methods.selectivemae.masking import Selective
from mimgen.ops.hog import gradients, sobel_histograms
from mimgen.targets import Target
from mimgen.types import Draws, Mask

CELL, BINS, WINDOW, SIGMA = 8, 9, 16, 8.0


class SelectiveModelling(MaskedModelling):
    """Objective: mean over scored patches of the target's distance (SelectiveMAE, section 4).

    Args:
        encoder: leaves hidden patches out; what is kept afterwards.
        decoder: predicts `target.dim` numbers for each scored patch.
        target: what is predicted.
        selection: which patches are seen and which are told.
        steps: of the training, over which the selection changes; 0 for none of it.
        score: "edges" draws patches by the strength of their gradients. "released" is what the official code
            does: its score is 0 for every patch, so patches are drawn evenly.

    Raises:
        UserError: parts that do not fit, or an unknown score.
    """

    encoder: VitEncoder
    step: Tensor

    def __init__(
        self,
        encoder: VitEncoder,
        decoder: SubsetDecoder | nn.Module,
        target: Target,
        selection: Selective | None = None,
        *,
        steps: int = 0,
        score: Literal["edges", "released"] = "edges",
    ) -> None:
        super().__init__(encoder, decoder, target, Selective() if selection is None else selection)
        if score not in ("edges", "released"):
            raise UserError(f'score {score!r} is unknown: choose "edges" or "released"')
        self.score, self.steps = score, steps
        # a buffer, so that a run that is taken up again goes on where it was
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def mask(self, images: Tensor, draws: Draws) -> Mask:
        """The mask of pictures [B, 3, H, W], one stream of `draws` a picture."""
        assert isinstance(self.masking, Selective), "set when this objective was built"
        progress = float(self.step) / self.steps if self.steps else 0.0
        tokens, grid = self.tokens(images)
        return self.masking(grid, draws, self.guide(images), tokens, progress)

    def tokens(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Embedded patches with positions [B, N, D], which similarity is measured on, and the grid."""
        tokens, grid = self.encoder.embed(images)
        return tokens[:, self.encoder.prefix :], grid

    def guide(self, images: Tensor) -> Tensor:
        """[B, N] logits of the patches of pictures [B, 3, H, W]; informative patches have higher ones."""
        if self.score == "edges":
            return edge_strength(images.float(), self.encoder.patch)
        pixels = (images.float() - self.encoder.mean) / self.encoder.std
        return descriptors(pixels, self.encoder.patch).mean(-1)

    def after_step(self, step: int) -> None:
        """Note that optimiser step `step`, counted from 1, is done."""
        self.step.fill_(step)


def edge_strength(images: Tensor, patch: int) -> Tensor:
    """Mean gradient of every patch [B, N], in standard deviations above the mean of its picture.

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
    places = torch.arange(WINDOW, device=images.device) - (WINDOW - 1) / 2
    curve = (-places.square() / (2 * SIGMA**2)).exp()
    window = torch.outer(curve, curve)
    weights = (window / window.sum()).repeat(height // WINDOW, width // WINDOW)
    cells = sobel_histograms(images, cell=CELL, bins=BINS, weights=weights).flatten(1, 2)
    vectors = F.pixel_unshuffle(cells, patch // CELL).flatten(2).transpose(1, 2)
    variance, mean = torch.var_mean(vectors, dim=-1, keepdim=True)
    return (vectors - mean) / (variance + 1e-6).sqrt()
