"""HPM: hide the patches that a teacher expects to be hard, more of them as training proceeds (arXiv 2304.05919).

Hidden: the hardest by the teacher's prediction on the intact picture, the rest at random. In their place: nothing.
Looks: MAE's encoder and decoder, and a second decoder that predicts the loss of a patch. Targets: pixels, or any
target; and which of two hidden patches has the larger loss. Loss: the target's distance, and cross-entropy of
the order of each pair.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.masking.random import largest
from mimgen.methods.hpm.masking import Hard
from mimgen.methods.hpm.networks import Guess, LossPredictor, VeiledMask
from mimgen.methods.hpm.ranking import order_loss, ranked, value_loss
from mimgen.methods.moving_average import Momentum, MovingAverage
from mimgen.ops.distributed import mean_over_ranks
from mimgen.targets import Target
from mimgen.types import Batch, Draws, Losses, Mask


class Guessing(nn.Module):
    """Encoder and decoders as one module, of which the teacher is an average.

    Args:
        encoder: leaves hidden patches out.
        decoder: tells patches and their losses.
    """

    def __init__(self, encoder: VitEncoder, decoder: LossPredictor) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, images: Tensor, mask: Mask) -> Guess:
        """Pictures [B, 3, H, W] in [0, 1] and their mask to both predictions for every patch."""
        return self.decoder.guess(self.encoder(images, mask), mask)

    def hardness(self, images: Tensor) -> Tensor:
        """Predicted losses [B, N] of intact pictures [B, 3, H, W] in [0, 1]."""
        patches = (images.shape[-2] // self.encoder.patch) * (images.shape[-1] // self.encoder.patch)
        nothing = Mask(torch.zeros(len(images), patches, dtype=torch.bool, device=images.device))
        return self.decoder.hardness(self.encoder(images, nothing), nothing)


@dataclass(frozen=True)
class Step:
    """Both losses of a step, patch by patch.

    Attributes:
        distances: [B, M] of the hidden patches, ascending, with gradient.
        hardness: [B, M] predicted for the same ones.
    """

    distances: Tensor
    hardness: Tensor


class HardPatches(nn.Module):
    """Objective: reconstruction + prediction of its loss (HPM, equation 5).

    Args:
        encoder: what is kept afterwards; a `VeilingVit` where `veiled` is not 0.
        decoder: predicts `target.dim` numbers a patch, and losses.
        target: what is predicted for hidden patches.
        masking: how many patches are hidden, and the share of hard ones at the end.
        steps: of the run, over which that share grows evenly from 0 (equation 6); 0 for the full share at once.
        momentum: of the teacher.
        relative: predict which of two patches is harder; otherwise the loss itself, standardised in a picture.
        predictor_weight: of the prediction of the loss.
        veiled: share of the visible patches that are shown as a token.

    Raises:
        UserError: a decoder for another target, or veiled patches and an encoder without a token for them.
    """

    made: Tensor

    def __init__(
        self,
        encoder: VitEncoder,
        decoder: LossPredictor,
        target: Target,
        masking: Hard | None = None,
        *,
        steps: int = 0,
        momentum: Momentum | None = None,
        relative: bool = True,
        predictor_weight: float = 1.0,
        veiled: float = 0.0,
    ) -> None:
        super().__init__()
        if decoder.dim != target.dim:
            raise UserError(
                f"the decoder predicts {decoder.dim} numbers a patch and the target has {target.dim}: build both for "
                "the same patch"
            )
        if not 0 <= veiled < 1 or (veiled and not hasattr(encoder, "vis_mask_token")):
            raise UserError(f"veiled={veiled}: choose a share below 1, and a VeilingVit as the encoder if it is not 0")
        self.student = Guessing(encoder, decoder)
        self.teacher = MovingAverage(self.student, momentum or Momentum(0.9999, 0.9999))
        self.target, self.masking, self.steps = target, masking or Hard(), steps
        self.relative, self.veiled = relative, veiled
        self.weights = {"predictor": predictor_weight}
        # a buffer, so that a run that is taken up again goes on at the same share
        self.register_buffer("made", torch.zeros((), dtype=torch.int64))

    @property
    def encoder(self) -> VitEncoder:
        """What is kept afterwards; registered once, as part of the student."""
        return self.student.encoder

    def forward(self, batch: Batch) -> Losses:
        """Terms "reconstruction" and "predictor"; metrics `ranked` (share of pairs in right order) and `hard`."""
        mask, share = self.mask(batch.images, batch.draws), self.share()
        losses = self.losses(batch.images, mask)
        hard = torch.tensor(share, device=batch.images.device)
        return dataclasses.replace(losses, metrics={**losses.metrics, "hard": hard})

    def share(self) -> float:
        """Share of hard patches among the hidden ones of the coming step."""
        if not self.steps:
            return self.masking.share
        return self.masking.share * min(1.0, (int(self.made) + 1) / self.steps)

    def mask(self, images: Tensor, draws: Draws) -> VeiledMask:
        """The mask of pictures [B, 3, H, W]: hard patches as the teacher sees them now, others from `draws`."""
        grid = (images.shape[-2] // self.target.patch, images.shape[-1] // self.target.patch)
        masking = dataclasses.replace(self.masking, share=self.share())
        mask = masking(grid, draws, self.guide(images))
        if not self.veiled:
            return VeiledMask(mask.hidden)
        noise = draws.uniform(mask.hidden.shape[1]).to(images.device).masked_fill(mask.hidden, -1.0)
        return VeiledMask(mask.hidden, veiled=largest(noise, int(self.veiled * mask.keep.shape[1])))

    @torch.no_grad()
    def guide(self, images: Tensor) -> Tensor:
        """How hard the teacher finds the patches of intact pictures [B, 3, H, W]; [B, N], without gradient."""
        return cast(Guessing, self.teacher.module).hardness(images).float()

    def losses(self, images: Tensor, mask: Mask) -> Losses:
        """The losses of pictures [B, 3, H, W] in [0, 1] for a chosen mask of their patches."""
        step = self.judged(images, self.student(images, mask), mask)
        goal = step.distances.detach()
        compare = order_loss if self.relative else value_loss
        count = torch.tensor(goal.numel(), device=goal.device)
        return Losses(
            {
                "reconstruction": mean_over_ranks(step.distances.sum(), count),
                "predictor": compare(step.hardness, goal),
            },
            self.weights,
            {"ranked": ranked(step.hardness.detach(), goal)},
        )

    def judged(self, images: Tensor, guess: Guess, mask: Mask) -> Step:
        """Distances of the hidden patches from the target, and what was predicted of them."""
        goal = self.target(images, mask)
        hidden, shape = mask.hidden, mask.drop.shape
        distances = self.target.loss(guess.patches[hidden], goal[hidden]).float().view(shape)
        return Step(distances, guess.losses.float()[hidden].view(shape))

    def after_step(self, step: int) -> None:
        """Let the teacher follow, buffers included."""
        self.teacher.update(self.student, step)
        self.made.fill_(step)
