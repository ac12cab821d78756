"""LatentMIM: predict the latents of masked patches from those of few visible ones (arXiv 2407.15837)."""

from __future__ import annotations

import math
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.methods.base import Masking, Objective, scatter_masked
from mimgen.methods.latentmim.gaps import without_gaps
from mimgen.methods.latentmim.networks import LatentDecoder, LatentVit
from mimgen.methods.moving_average import Momentum, MovingAverage
from mimgen.types import Batch, Losses, Mask, SampleRNG


class LatentMIM(Objective):
    """Patch InfoNCE + weight * squared distances of mean similarities (LatentMIM, equations 3 and 4).

    About nine patches of ten are masked; patches are cut with random gaps, so that neighbours do not touch. The
    encoder sees the visible ones, its slow copy the masked ones alone; queries at the masked positions predict what
    the copy gives there. The loss asks which of the image's masked patches a prediction belongs to, and pulls the
    mean similarity of latents to a value that falls during training.

    Args:
        encoder: what is kept afterwards.
        decoder: predicts latents of masked patches.
        masking: which patches are masked; 176 of 196 in the paper.
        momentum: of the slow copy. None for no copy: the encoder's own latents are the target, with gradient,
            which collapses.
        gap: pixels per side that a patch's cell is larger than the patch; 4 for patches of 16 in the paper.
        loss: "contrast", or "squared" for the mean squared error to standardised targets.
        temperature: of the contrast.
        similarity_weight: of the pull of mean similarities; 0 for none.
        similarity: mean cosine that is aimed at, at the first and at the last step, by half a cosine between.
        full_view: the copy sees all patches instead of the masked ones alone.

    Raises:
        UserError: an unknown loss, a negative gap, or parts of different widths.
    """

    def __init__(
        self,
        encoder: LatentVit,
        decoder: LatentDecoder,
        masking: Masking,
        momentum: Momentum | None,
        *,
        gap: int = 4,
        loss: Literal["contrast", "squared"] = "contrast",
        temperature: float = 0.2,
        similarity_weight: float = 0.1,
        similarity: tuple[float, float] = (0.75, 0.25),
        full_view: bool = False,
    ) -> None:
        super().__init__()
        if loss not in ("contrast", "squared"):
            raise UserError(f'loss {loss!r} is unknown: choose "contrast" or "squared"')
        if gap < 0 or decoder.dim != encoder.dim:
            raise UserError(
                f"gap {gap}, latents of {encoder.dim} and a decoder for {decoder.dim}: take a gap of 0 or more pixels, "
                "and the same width"
            )
        self.encoder, self.decoder, self.masking = encoder, decoder, masking
        self.teacher = None if momentum is None else MovingAverage(encoder, momentum)
        self.gap, self.loss, self.temperature, self.full_view = gap, loss, temperature, full_view
        self.similarity_weight, self.similarity = similarity_weight, similarity
        self.target = None  # latents of the slow copy

    def forward(self, batch: Batch, mask: Mask | None = None) -> Losses:
        """Terms "latent", "similar_predictions" and "similar_visible"; the mean similarities as metrics."""
        mask = self.mask(batch) if mask is None else mask
        return self.losses(self.cut(batch), mask, self.target_similarity(batch.progress))

    def mask(self, batch: Batch) -> Mask:
        """The mask [B, N] of the grid of cells, each a patch and its gap."""
        return self.masking(self._grid(batch.images), batch.rng).to(batch.images.device)

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, D], the predicted latents of masked patches, and 0 for visible ones."""
        return scatter_masked(self.decoder(self.encoder.latents(self.cut(batch), mask), mask), mask)

    def cut(self, batch: Batch) -> Tensor:
        """The images without gaps [B, 3, h patch, w patch]: each patch at a random position in its cell."""
        offsets = self.offsets(self._grid(batch.images), batch.rng)
        return without_gaps(batch.images, offsets, self.encoder.patch, self.gap)

    def offsets(self, grid: tuple[int, int], rng: SampleRNG) -> Tensor:
        """[B, 2, h, w] positions of the patches in their cells, 0..gap - 1 as in the official code."""
        return (rng.uniform(2, *grid) * self.gap).long()

    def target_similarity(self, progress: float) -> float:
        """The mean cosine that latents are pulled to after the share `progress` of the run."""
        start, end = self.similarity
        return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))

    def _grid(self, images: Tensor) -> tuple[int, int]:
        cell = self.encoder.patch + self.gap
        height, width = images.shape[-2:]
        if height % cell or width % cell:
            raise UserError(
                f"images of {width} x {height} do not divide into cells of {cell} pixels (patch and gap): choose "
                f"--pixels as a multiple of {cell}"
            )
        return height // cell, width // cell

    def losses(self, images: Tensor, mask: Mask, similarity: float) -> Losses:
        """The losses for a chosen mask.

        Args:
            images: [B, 3, H, W] in [0, 1], already without gaps.
            mask: of their patches.
            similarity: mean cosine that latents are pulled to.
        """
        visible = self.encoder.latents(images, mask)
        predicted, goal = self.decoder(visible, mask).float(), self.targets(images, mask).float()
        means = {"predicted": predicted, "visible": visible.patches.float(), "target": goal.detach()}
        found = {name: mean_cosine(latents) for name, latents in means.items()}
        # products of the contrast would be of half precision inside autocast
        with torch.autocast(images.device.type, enabled=False):
            if self.loss == "contrast":
                terms = {"latent": contrast(predicted, goal, self.temperature)}
            else:
                terms = {"latent": squared(predicted, goal)}
        if self.similarity_weight:
            terms["similar_predictions"] = (found["predicted"] - similarity).square()
            terms["similar_visible"] = (found["visible"] - similarity).square()
        weights = {name: self.similarity_weight for name in terms if name != "latent"}
        return Losses(terms, weights, {f"similarity_{name}": value.detach() for name, value in found.items()})

    def targets(self, images: Tensor, mask: Mask) -> Tensor:
        """Latents [B, M, D] of the masked patches, ascending."""
        visible = None if self.full_view else Mask(~mask.masked)
        with torch.set_grad_enabled(self.teacher is None and torch.is_grad_enabled()):
            latents = self.target_encoder.latents(images, visible).patches
        return latents.gather(1, mask.drop[..., None].expand(-1, -1, latents.shape[-1])) if self.full_view else latents

    @property
    def target_encoder(self) -> LatentVit:
        """Whose latents are the target: the slow copy, or the encoder itself where there is none."""
        return self.encoder if self.teacher is None else cast(LatentVit, self.teacher.module)

    def after_step(self, step: int) -> None:
        """Let the copy follow after optimiser step `step`, counted from 1.

        The official code does so at the start of the next step, before targets are computed: the same, as nothing
        happens between, and the copy is the encoder itself at first.
        """
        if self.teacher is not None:
            self.teacher.update(self.encoder, step)


def contrast(predicted: Tensor, goal: Tensor, temperature: float) -> Tensor:
    """2 t times the cross-entropy of finding one's own goal among those of the image (LatentMIM, equation 3).

    Predictions [B, M, D] are first standardised over the patches of an image; then cosines to goals [B, M, D].
    """
    std = predicted.std(dim=1, keepdim=True) + 1e-4
    unit = F.normalize((predicted - predicted.mean(dim=1, keepdim=True)) / std, dim=-1)
    return nearest(unit, F.normalize(goal, dim=-1), temperature)


def nearest(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """2 t times the cross-entropy of asked[b, i] to known[b, i] among known[b]; both [B, M, D] of length 1."""
    scores = queries @ keys.transpose(1, 2) / temperature
    own = torch.arange(scores.shape[1], device=scores.device).expand(len(scores), -1)
    return 2 * temperature * F.cross_entropy(scores.transpose(1, 2), own)


def squared(predicted: Tensor, goal: Tensor) -> Tensor:
    """Mean squared error of [B, M, D] to goals [B, M, D], each standardised over its numbers."""
    variance, mean = torch.var_mean(goal, dim=-1, keepdim=True)
    return (predicted - (goal - mean) / (variance + 1e-6).sqrt()).square().mean()


def mean_cosine(latents: Tensor) -> Tensor:
    """Mean over images and pairs of patches of the cosine of latents [B, M, D]; a patch pairs with itself, too."""
    # the mean of all inner products is the squared length of the mean
    return F.normalize(latents, dim=-1).mean(1).square().sum(-1).mean()
