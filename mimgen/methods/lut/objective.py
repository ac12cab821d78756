"""LUT: MAE, and the few visible patches of a view must predict what a teacher sees in the other (arXiv 2310.13593)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import VitEncoder
from mimgen.masking.disjoint import Disjoint
from mimgen.methods.base import Objective, check_width, grid_of
from mimgen.methods.moving_average import Momentum, MovingAverage
from mimgen.ops.distributed import distributed_mean
from mimgen.targets import Target
from mimgen.types import Batch, Losses, Mask, SampleRNG, Tokens

Views = Callable[[Tensor, SampleRNG], tuple[Tensor, Tensor]]


class Context(nn.Module):
    """An image as one vector: the mean over its visible patch tokens, without class token, through a head.

    Args:
        encoder: leaves masked patches out.
        head: [B, D] -> [B, E].
    """

    def __init__(self, encoder: VitEncoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1], seen whole, to [B, E]."""
        return self.pooled(self.encoder(images))

    def pooled(self, tokens: Tokens) -> Tensor:
        """The vectors [B, E] of tokens that are there already."""
        return self.head(tokens.patches.mean(1))


class LUT(Objective):
    """MAE's loss + context_weight times the distance of the views' vectors (LUT, section 3).

    Masked: three quarters of each of two views, with no patch visible in both; they are left out. MAE's encoder sees
    both views, its decoder predicts the first. Targets: pixels of the first view; for the mean over the visible
    patches of each view, the teacher's mean over all patches of the other. Loss: mean squared error, and 2 - 2 cosine
    of the means.

    Args:
        encoder: what is kept afterwards.
        decoder: predicts `target.dim` numbers for each patch of the first view.
        target: what is predicted there.
        head: [B, D] -> [B, E], of student and teacher; see `mimgen.methods.lut.projection`.
        predictor: [B, E] -> [B, E], of the student alone.
        views: (images [B, 3, H, W], rng) -> two views of them, alike in size.
        masking: the masks of the two views; from a ratio of one half on, no patch is visible in both.
        momentum: of the teacher; 0.996 rising to 1 over the run in LUT.
        reconstruction_weight: of MAE's loss.
        context_weight: of the distance; 0 leaves MAE.

    Raises:
        UserError: a decoder that predicts another number of values than the target has.
    """

    def __init__(
        self,
        encoder: VitEncoder,
        decoder: MaeDecoder,
        target: Target,
        head: nn.Module,
        predictor: nn.Module,
        views: Views,
        masking: Disjoint | None = None,
        *,
        momentum: Momentum | None = None,
        reconstruction_weight: float = 1.0,
        context_weight: float = 0.25,
    ) -> None:
        super().__init__()
        check_width(decoder, target)
        self.student = Context(encoder, head)
        self.decoder, self.predictor, self.target = decoder, predictor, target
        self.teacher = MovingAverage(self.student, momentum or Momentum())
        self.views, self.masking = views, masking or Disjoint(0.75, unit=1)
        self.weights = {"reconstruction": reconstruction_weight, "context": context_weight}

    @property
    def encoder(self) -> VitEncoder:  # type: ignore[override]
        """What is kept afterwards; registered once, as part of the student."""
        return self.student.encoder

    def forward(self, batch: Batch) -> Losses:
        """Terms "reconstruction" and "context", the latter from 0 to 4."""
        first, second = self.views(batch.images, batch.rng)  # [B, 3, H, W] each
        first_mask, second_mask = self.masks(first, batch.rng)
        tokens = self.encoder(first, first_mask), self.encoder(second, second_mask)
        # one view after the other, as the batch norms of the head take the statistics of a view
        student = torch.stack([self.predictor(self.student.pooled(each)) for each in tokens])  # [2, B, E]
        teacher = torch.stack([self.teacher(first), self.teacher(second)])  # [2, B, E]
        masked = first_mask.masked
        predicted = self.decoder(tokens[0], first_mask)[masked]  # [B M, D]
        distance = self.target.loss(predicted, self.target(first, first_mask)[masked]).float()  # [B M]
        terms = {
            "reconstruction": distributed_mean(distance.sum(), masked.sum()),
            "context": crossed_distance(student, teacher),
        }
        return Losses(terms, self.weights)

    def masks(self, images: Tensor, rng: SampleRNG) -> tuple[Mask, Mask]:
        """The masks [B, N] of both views of images [B, 3, H, W]."""
        first, second = self.masking(grid_of(images, self.target.patch), rng)
        return first.to(images.device), second.to(images.device)

    def mask(self, batch: Batch) -> Mask:
        """The mask [B, N] of the first view."""
        return self.masks(batch.images, batch.rng)[0]

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, D], the prediction for every patch of images that stand for the first view."""
        return self.decoder(self.encoder(batch.images, mask), mask)

    def after_step(self, step: int) -> None:
        """Let the teacher follow, statistics of batch norms included."""
        self.teacher.update(self.student, step)


def crossed_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """2 - 2 cos of each view's student with the other view's teacher; 0 where they agree, 4 at opposites.

    Args:
        student: [2, B, E].
        teacher: [2, B, E].
    """
    cosine = F.cosine_similarity(student.float(), teacher.float().flip(0), dim=-1)
    return (2 - 2 * cosine).mean()
