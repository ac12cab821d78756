"""LUT: MAE, and the few visible patches of a view must predict what a teacher sees in the other (arXiv 2310.13593).

Masked: three quarters of each of two views, the visible positions apart. In their place: nothing. Looks: MAE's
encoder at both views, its decoder at the first. Targets: pixels of the first view; for each view, the teacher's
mean over all patches of the other. Loss: mean squared error, and 2 - 2 cosine of the means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.masking.disjoint import Disjoint
from mimgen.methods.moving_average import Momentum, MovingAverage
from mimgen.ops.distributed import distributed_mean
from mimgen.targets import Target
from mimgen.training import Trainable
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


@dataclass(frozen=True)
class LUTOutput:
    """What the networks make of two views.

    Attributes:
        tokens: of the visible patches, first and second view.
        student: [2, B, E], first and second view, after the predictor.
        teacher: [2, B, E], without gradient.
    """

    tokens: tuple[Tokens, Tokens]
    student: Tensor
    teacher: Tensor


class LUT(Trainable):
    """Objective: MAE's loss + context_weight times the distance of the views' vectors (LUT, section 3).

    Args:
        encoder: what is kept afterwards.
        decoder: predicts `target.dim` numbers for each patch of the first view.
        target: what is predicted there.
        head: [B, D] -> [B, E], of student and teacher; see `mimgen.methods.lut.projection`.
        predictor: [B, E] -> [B, E], of the student alone.
        views: (images [B, 3, H, W], samples) -> two views of them, alike in size.
        masking: the masks of the two views; from a ratio of one half on, no place is visible in both.
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
        if decoder.dim != target.dim:
            raise UserError(
                f"the decoder predicts {decoder.dim} numbers per patch and the target has {target.dim}: build both for "
                "the same patch"
            )
        self.student = Context(encoder, head)
        self.decoder, self.predictor, self.target = decoder, predictor, target
        self.teacher = MovingAverage(self.student, momentum or Momentum())
        self.views, self.masking = views, masking or Disjoint(0.75, unit=1)
        self.weights = {"reconstruction": reconstruction_weight, "context": context_weight}

    @property
    def encoder(self) -> VitEncoder:
        """What is kept afterwards; registered once, as part of the student."""
        return self.student.encoder

    def forward(self, batch: Batch) -> Losses:
        """Terms "reconstruction" and "context", the latter from 0 to 4."""
        first, second = self.views(batch.images, batch.rng)
        grid = (first.shape[-2] // self.target.patch, first.shape[-1] // self.target.patch)
        masks = [Mask(mask.masked.to(first.device)) for mask in self.masking(grid, batch.rng)]
        return self.losses(first, second, masks[0], masks[1])

    def losses(self, first: Tensor, second: Tensor, first_mask: Mask, second_mask: Mask) -> Losses:
        """The losses of two views [B, 3, H, W] in [0, 1] and the masks of their patches."""
        return self.compute_losses(self.forward_views(first, second, first_mask, second_mask), first, first_mask)

    def compute_losses(self, output: LUTOutput, first: Tensor, mask: Mask) -> Losses:
        """The losses of what was made of two views, of which the first [B, 3, H, W] and its mask are needed again."""
        masked = mask.masked
        predicted = self.decoder(output.tokens[0], mask)[masked]
        distance = self.target.loss(predicted, self.target(first, mask)[masked]).float()
        return Losses(
            {
                "reconstruction": distributed_mean(distance.sum(), masked.sum()),
                "context": crossed_distance(output.student, output.teacher),
            },
            self.weights,
        )

    def forward_views(self, first: Tensor, second: Tensor, first_mask: Mask, second_mask: Mask) -> LUTOutput:
        """What student and teacher see; the views pass the student's batch norms one after the other."""
        tokens = (self.encoder(first, first_mask), self.encoder(second, second_mask))
        student = torch.stack([self.predictor(self.student.pooled(seen)) for seen in tokens])
        return LUTOutput(tokens, student, torch.stack([self.teacher(first), self.teacher(second)]))

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
