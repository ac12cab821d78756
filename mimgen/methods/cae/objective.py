"""CAE: predict the representations of masked patches from the visible ones, and from them what is there (2202.03026).

Masked: blocks, half of the patches. In their place: nothing. Looks: the encoder at visible patches; a regressor
makes latents of the masked ones; a decoder reads these alone. Targets: codes (or any target) of masked patches; their
latents by the encoder itself, which sees only them. Loss: the target's distance, and mean squared error.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.methods.base import Masking
from mimgen.methods.cae.networks import CaeDecoder, CaeEncoder
from mimgen.methods.moving_average import Momentum, MovingAverage
from mimgen.ops.distributed import distributed_mean
from mimgen.targets import Target
from mimgen.training import Trainable
from mimgen.types import Batch, Losses, Mask


class CAE(Trainable):
    """Objective: the target's distance + align_weight * mean squared error of the latents (CAE, equation 1).

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

    def forward(self, batch: Batch) -> Losses:
        """Terms "target" (of a masked patch) and "align"; metric `accuracy` where the target is codes."""
        images = batch.images
        grid = (images.shape[-2] // self.encoder.patch, images.shape[-1] // self.encoder.patch)
        mask = self.masking(grid, batch.rng)
        return self.losses(images, Mask(mask.masked.to(images.device)))

    def losses(self, images: Tensor, mask: Mask) -> Losses:
        """The losses of images [B, 3, H, W] in [0, 1] for a chosen mask of their patches."""
        made, masked = self.decoder(self.encoder(images, mask), mask), mask.masked
        goal, predicted = self.target(images, mask)[masked], made.predicted.flatten(0, 1)
        distance = self.target.loss(predicted, goal)
        error = (made.latents.float() - self.latents(images, mask).float()).square()
        metrics = {}
        if not goal.is_floating_point():
            metrics["accuracy"] = distributed_mean((predicted.argmax(-1) == goal).float().sum(), masked.sum())
        return Losses(
            {
                "target": distributed_mean(distance.float().sum(), masked.sum()),
                "align": distributed_mean(error.sum(), torch.tensor(error.numel(), device=error.device)),
            },
            self.weights,
            metrics,
        )

    @torch.no_grad()
    def latents(self, images: Tensor, mask: Mask) -> Tensor:
        """The teacher's latents [B, M, E] of the masked patches, the only ones that it sees."""
        return self.decoder.translate(self.teacher(images, Mask(~mask.masked)).patches)

    def after_step(self, step: int) -> None:
        """Let the teacher follow."""
        self.teacher.update(self.encoder, step)
