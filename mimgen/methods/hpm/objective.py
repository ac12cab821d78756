"""HPM: mask the patches that a teacher expects to be hard, more of them as training proceeds (arXiv 2304.05919).

Masked: the hardest by the teacher's prediction on the intact image, the rest at random. In their place: nothing.
Looks: MAE's encoder and decoder, and a second decoder that predicts the loss of a patch. Targets: pixels, or any
target; and which of two masked patches has the larger loss. Loss: the target's distance, and cross-entropy of
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
from mimgen.methods.hpm.networks import HPMOutput, LossPredictor
from mimgen.methods.hpm.ranking import order_loss, ranked, value_loss
from mimgen.methods.moving_average import Momentum, MovingAverage
from mimgen.ops.distributed import distributed_mean
from mimgen.targets import Target
from mimgen.training import Trainable
from mimgen.types import Batch, Losses, Mask, SampleRNG


class HPMModel(nn.Module):
    """Encoder and decoders as one module, of which the teacher is an average.

    Args:
        encoder: leaves masked patches out.
        decoder: predicts patches and their losses.
    """

    def __init__(self, encoder: VitEncoder, decoder: LossPredictor) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, images: Tensor, mask: Mask) -> HPMOutput:
        """Images [B, 3, H, W] in [0, 1] and their mask to both predictions for every patch."""
        return self.decoder.predict(self.encoder(images, mask), mask)

    def predicted_loss(self, images: Tensor) -> Tensor:
        """Predicted losses [B, N] of intact images [B, 3, H, W] in [0, 1]."""
        patches = (images.shape[-2] // self.encoder.patch) * (images.shape[-1] // self.encoder.patch)
        nothing = Mask(torch.zeros(len(images), patches, dtype=torch.bool, device=images.device))
        return self.decoder.predicted_loss(self.encoder(images, nothing), nothing)


@dataclass(frozen=True)
class Step:
    """Both losses of a step, patch by patch.

    Attributes:
        distances: [B, M] of the masked patches, ascending, with gradient.
        predicted_loss: [B, M] predicted for the same ones.
    """

    distances: Tensor
    predicted_loss: Tensor


class HPM(Trainable):
    """Objective: reconstruction + prediction of its loss (HPM, equation 5).

    Args:
        encoder: what is kept afterwards; with mask_token="visible" where `masked_visible` is not 0.
        decoder: predicts `target.dim` numbers per patch, and losses.
        target: what is predicted for masked patches.
        masking: how many patches are masked, and the share of hard ones at the end.
        steps: of the run, over which that share grows evenly from 0 (equation 6); 0 for the full share at once.
        momentum: of the teacher.
        relative: predict which of two patches is harder; otherwise the loss itself, standardised in an image.
        predictor_weight: of the prediction of the loss.
        masked_visible: share of the visible patches that are shown as a token.

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
        masked_visible: float = 0.0,
    ) -> None:
        super().__init__()
        if decoder.dim != target.dim:
            raise UserError(
                f"the decoder predicts {decoder.dim} numbers per patch and the target has {target.dim}: build both for "
                "the same patch"
            )
        if not 0 <= masked_visible < 1 or (masked_visible and encoder.masking != "visible"):
            raise UserError(
                f'masked_visible={masked_visible}: choose a share below 1, and if it is not 0 an encoder with '
                'mask_token="visible"'
            )
        self.student = HPMModel(encoder, decoder)
        self.teacher = MovingAverage(self.student, momentum or Momentum(0.9999, 0.9999))
        self.target, self.masking, self.steps = target, masking or Hard(), steps
        self.relative, self.masked_visible = relative, masked_visible
        self.weights = {"predictor": predictor_weight}
        # a buffer, so that a run that is resumed continues at the same share
        self.register_buffer("made", torch.zeros((), dtype=torch.int64))

    @property
    def encoder(self) -> VitEncoder:
        """What is kept afterwards; registered once, as part of the student."""
        return self.student.encoder

    def forward(self, batch: Batch) -> Losses:
        """Terms "reconstruction" and "predictor"; metrics `ranked` (share of pairs in right order) and `hard`."""
        mask, share = self.mask(batch.images, batch.rng), self.share()
        losses = self.losses(batch.images, mask)
        hard = torch.tensor(share, device=batch.images.device)
        return dataclasses.replace(losses, metrics={**losses.metrics, "hard": hard})

    def share(self) -> float:
        """Share of hard patches among the masked ones of the coming step."""
        if not self.steps:
            return self.masking.share
        return self.masking.share * min(1.0, (int(self.made) + 1) / self.steps)

    def mask(self, images: Tensor, rng: SampleRNG) -> Mask:
        """The mask of images [B, 3, H, W]: hard patches as the teacher sees them now, others from `rng`."""
        grid = (images.shape[-2] // self.target.patch, images.shape[-1] // self.target.patch)
        masking = dataclasses.replace(self.masking, share=self.share())
        mask = masking(grid, rng, self.guide(images))
        if not self.masked_visible:
            return mask
        noise = rng.uniform(mask.masked.shape[1]).to(images.device).masked_fill(mask.masked, -1.0)
        return dataclasses.replace(mask, replaced=largest(noise, int(self.masked_visible * mask.keep.shape[1])))

    @torch.no_grad()
    def guide(self, images: Tensor) -> Tensor:
        """How hard the teacher finds the patches of intact images [B, 3, H, W]; [B, N], without gradient."""
        return cast(HPMModel, self.teacher.module).predicted_loss(images).float()

    def losses(self, images: Tensor, mask: Mask) -> Losses:
        """The losses of images [B, 3, H, W] in [0, 1] for a chosen mask of their patches."""
        step = self.per_patch_losses(images, self.student(images, mask), mask)
        goal = step.distances.detach()
        compare = order_loss if self.relative else value_loss
        count = torch.tensor(goal.numel(), device=goal.device)
        return Losses(
            {
                "reconstruction": distributed_mean(step.distances.sum(), count),
                "predictor": compare(step.predicted_loss, goal),
            },
            self.weights,
            {"ranked": ranked(step.predicted_loss.detach(), goal)},
        )

    def per_patch_losses(self, images: Tensor, output: HPMOutput, mask: Mask) -> Step:
        """Distances of the masked patches from the target, and what was predicted of them."""
        goal = self.target(images, mask)
        masked, shape = mask.masked, mask.drop.shape
        distances = self.target.loss(output.patches[masked], goal[masked]).float().view(shape)
        return Step(distances, output.losses.float()[masked].view(shape))

    def after_step(self, step: int) -> None:
        """Let the teacher follow, buffers included."""
        self.teacher.update(self.student, step)
        self.made.fill_(step)
