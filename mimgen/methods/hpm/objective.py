"""HPM: mask the patches that a teacher expects to be hard, more of them as training proceeds (arXiv 2304.05919)."""

from __future__ import annotations

import dataclasses
from typing import cast

import torch
from torch import Tensor, nn

from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.masking.random import largest
from mimgen.methods.base import Objective, check_width, grid_of
from mimgen.methods.hpm.masking import Hard
from mimgen.methods.hpm.networks import HPMOutput, LossPredictor
from mimgen.methods.hpm.ranking import order_loss, ranked, value_loss
from mimgen.methods.moving_average import Momentum, MovingAverage
from mimgen.ops.distributed import distributed_mean
from mimgen.targets import Target
from mimgen.types import Batch, Losses, Mask


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
        rows, columns = grid_of(images, self.encoder.patch)
        nothing = Mask(torch.zeros(len(images), rows * columns, dtype=torch.bool, device=images.device))
        return self.decoder.predicted_loss(self.encoder(images, nothing), nothing)


class HPM(Objective):
    """MAE that also predicts its own loss and masks where that is high (HPM, equation 5).

    Masked: the patches whose loss the teacher predicts to be highest on the intact image, a share that grows during
    the run; the rest at random. They are left out. MAE's encoder and decoder predict pixels (or any target); a
    second decoder predicts which of two masked patches has the larger loss. The loss is the target's distance plus
    the cross-entropy of the order of each pair. The teacher is a moving average of encoder and decoders.

    Args:
        encoder: what is kept afterwards; with mask_token="visible" where `masked_visible` is not 0.
        decoder: predicts `target.dim` numbers per patch, and losses.
        target: what is predicted for masked patches.
        masking: how many patches are masked, and the share of hard ones at the end of the run, to which it rises
            evenly from 0 (equation 6).
        momentum: of the teacher.
        relative: predict which of two patches is harder; otherwise the loss itself, standardised in an image.
        predictor_weight: of the prediction of the loss.
        masked_visible: share of the visible patches that are shown as a token.

    Raises:
        UserError: a decoder for another target, or replaced patches and an encoder without a token for them.
    """

    def __init__(
        self,
        encoder: VitEncoder,
        decoder: LossPredictor,
        target: Target,
        masking: Hard | None = None,
        *,
        momentum: Momentum | None = None,
        relative: bool = True,
        predictor_weight: float = 1.0,
        masked_visible: float = 0.0,
    ) -> None:
        super().__init__()
        check_width(decoder, target)
        if not 0 <= masked_visible < 1 or (masked_visible and encoder.masking != "visible"):
            raise UserError(
                f"masked_visible={masked_visible}: choose a share below 1, and if it is not 0 an encoder with "
                'mask_token="visible"'
            )
        self.student = HPMModel(encoder, decoder)
        self.teacher = MovingAverage(self.student, momentum or Momentum(0.9999, 0.9999))
        self.target, self.masking = target, masking or Hard()
        self.relative, self.masked_visible = relative, masked_visible
        self.weights = {"predictor": predictor_weight}

    @property
    def encoder(self) -> VitEncoder:  # type: ignore[override]
        """What is kept afterwards; registered once, as part of the student."""
        return self.student.encoder

    def forward(self, batch: Batch, mask: Mask | None = None) -> Losses:
        """Terms "reconstruction" and "predictor"; metrics `ranked` (share of pairs in right order) and `hard`."""
        mask = self.mask(batch) if mask is None else mask
        output = self.student(batch.images, mask)
        masked, shape = mask.masked, mask.drop.shape  # [B, N], (B, M)
        target = self.target(batch.images, mask)[masked]  # [B M, D]
        distance = self.target.loss(output.patches[masked], target).float().view(shape)  # [B, M]
        predicted_loss = output.losses.float()[masked].view(shape)  # [B, M]
        # the predictor learns from the loss, which must not learn to be predictable
        true_loss = distance.detach()
        terms = {
            "reconstruction": distributed_mean(distance.sum(), masked.sum()),
            "predictor": (order_loss if self.relative else value_loss)(predicted_loss, true_loss),
        }
        hard = torch.tensor(self.share(batch), device=distance.device)
        return Losses(terms, self.weights, {"ranked": ranked(predicted_loss.detach(), true_loss), "hard": hard})

    def share(self, batch: Batch) -> float:
        """Share of hard patches among the masked ones at this step; outside a run that of its end."""
        return self.masking.share * (min(1.0, batch.step / batch.steps) if batch.steps else 1.0)

    def mask(self, batch: Batch) -> Mask:
        """The mask of images [B, 3, H, W]: hard patches as the teacher sees them now, others at random."""
        masking = dataclasses.replace(self.masking, share=self.share(batch))
        mask: Mask = masking(grid_of(batch.images, self.target.patch), batch.rng, self.guide(batch.images))
        if not self.masked_visible:
            return mask
        noise = batch.rng.uniform(mask.masked.shape[1]).to(batch.images.device)  # [B, N]
        noise = noise.masked_fill(mask.masked, -1.0)  # below all noise, so that only visible patches are drawn
        return dataclasses.replace(mask, replaced=largest(noise, int(self.masked_visible * mask.keep.shape[1])))

    @torch.no_grad()
    def guide(self, images: Tensor) -> Tensor:
        """How hard the teacher finds the patches of intact images [B, 3, H, W]; [B, N], without gradient."""
        return cast(HPMModel, self.teacher.module).predicted_loss(images).float()

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, D], the student's prediction for every patch."""
        return self.student(batch.images, mask).patches

    def after_step(self, step: int) -> None:
        """Let the teacher follow, buffers included."""
        self.teacher.update(self.student, step)
