"""CAE: predict representations of masked patches from the visible ones, and from them what is there (2202.03026)."""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.methods.base import Masking, Objective, scatter_masked
from mimgen.methods.cae.networks import CaeDecoder, CaeEncoder
from mimgen.methods.moving_average import Momentum, MovingAverage
from mimgen.ops.distributed import distributed_mean
from mimgen.targets import Target
from mimgen.types import Batch, Losses, Mask


class CAE(Objective):
    """Prediction of the target from regressed latents, which are aligned with encoded ones (CAE, equation 1).

    Masked: blocks, half of the patches; they are left out. The encoder sees the visible patches; a regressor makes
    latents of the masked ones, and a decoder reads these alone. Targets: codes (or any target) of masked patches, and
    their latents by the encoder itself, which then sees only them. Loss: the target's distance + align_weight * mean
    squared error of the latents.

    Args:
        encoder: what is kept afterwards.
        decoder: regressor and decoder; predicts `target.dim` numbers per patch.
        target: what is predicted for masked patches.
        masking: which patches are masked, the same number in every row.
        align_weight: of the latents; 2 in CAE.
        momentum: of the teacher; by default 0, so that the teacher is the encoder as it stands.

    Raises:
        UserError: a decoder for another target, or a target of another patch.
    """

    def __init__(
        self,
        encoder: CaeEncoder,
        decoder: CaeDecoder,
        target: Target,
        masking: Masking | None = None,
        *,
        align_weight: float = 2.0,
        momentum: Momentum | None = None,
    ) -> None:
        super().__init__()
        if decoder.dim != target.dim or encoder.patch != target.patch:
            raise UserError(
                f"the target has {target.dim} numbers or codes for patches of {target.patch} pixels: build the decoder "
                f"with output={target.dim} and the encoder with patch={target.patch}"
            )
        self.encoder, self.decoder, self.target = encoder, decoder, target
        self.masking = masking or Block(98)
        # The official code lets the teacher follow inside the forward pass, so that its targets are one step old.
        # Here it follows after the step: at momentum 0 it is the encoder of the coming forward pass.
        self.teacher = MovingAverage(encoder, momentum or Momentum(0.0, 0.0))
        self.weights = {"align": align_weight}

    def forward(self, batch: Batch, mask: Mask | None = None) -> Losses:
        """Terms "target" (of a masked patch) and "align"; metric `accuracy` where the target is codes."""
        images, mask = batch.images, self.mask(batch) if mask is None else mask
        output = self.decoder(self.encoder(images, mask), mask)  # latents [B, M, E], predicted [B, M, D]
        predicted = output.predicted.flatten(0, 1)  # [B M, D]
        target = self.target(images, mask)[mask.masked]  # [B M, D], or codes [B M]
        distance = self.target.loss(predicted, target).float()  # [B M]
        error = (output.latents.float() - self.latents(images, mask).float()).square()  # [B, M, E]
        terms = {
            "target": distributed_mean(distance.sum(), mask.masked.sum()),
            "align": distributed_mean(error.sum(), torch.tensor(error.numel(), device=error.device)),
        }
        if target.is_floating_point():
            return Losses(terms, self.weights)
        correct = (predicted.argmax(-1) == target).float()
        return Losses(terms, self.weights, {"accuracy": distributed_mean(correct.sum(), mask.masked.sum())})

    @torch.no_grad()
    def latents(self, images: Tensor, mask: Mask) -> Tensor:
        """The teacher's latents [B, M, E] of the masked patches, the only ones that it sees."""
        return self.decoder.translate(self.teacher(images, Mask(~mask.masked)).patches)

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, D], the prediction for masked patches; 0 at visible ones, which the decoder does not see."""
        return scatter_masked(self.decoder(self.encoder(batch.images, mask), mask).predicted, mask)

    def after_step(self, step: int) -> None:
        """Let the teacher follow."""
        self.teacher.update(self.encoder, step)
