"""CAE: tell the representations of hidden patches from the visible ones, and from them what is there (2202.03026).

Hidden: blocks, half of the patches. In their place: nothing. Looks: the encoder at visible patches; a regressor
makes latents of the hidden ones; a decoder reads these alone. Targets: codes (or any target) of hidden patches; their
latents by the encoder itself, which sees only them. Loss: the target's distance, and mean squared error.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.methods.cae.networks import CaeDecoder, CaeEncoder
from mimgen.methods.mim import Masking
from mimgen.methods.moving_average import Momentum, MovingAverage
from mimgen.ops.distributed import mean_over_ranks
from mimgen.targets import Target
from mimgen.types import Batch, Losses, Mask


class ContextAutoencoder(nn.Module):
    """Objective: the target's distance + align_weight * mean squared error of the latents (CAE, equation 1).

    Args:
        encoder: what is kept afterwards.
        decoder: regressor and decoder; predicts `target.dim` numbers a patch.
        target: what is predicted for hidden patches.
        masking: which patches are hidden, the same number in every row.
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
        """Terms "target" (of a hidden patch) and "align"; metric `accuracy` where the target is codes."""
        images = batch.images
        grid = (images.shape[-2] // self.encoder.patch, images.shape[-1] // self.encoder.patch)
        mask = self.masking(grid, batch.draws)
        return self.losses(images, Mask(mask.hidden.to(images.device)))

    def losses(self, images: Tensor, mask: Mask) -> Losses:
        """The losses of pictures [B, 3, H, W] in [0, 1] for a chosen mask of their patches."""
        made, hidden = self.decoder(self.encoder(images, mask), mask), mask.hidden
        goal, predicted = self.target(images, mask)[hidden], made.predicted.flatten(0, 1)
        distance = self.target.loss(predicted, goal)
        error = (made.latents.float() - self.latents(images, mask).float()).square()
        metrics = {}
        if not goal.is_floating_point():
            metrics["accuracy"] = mean_over_ranks((predicted.argmax(-1) == goal).float().sum(), hidden.sum())
        return Losses(
            {
                "target": mean_over_ranks(distance.float().sum(), hidden.sum()),
                "align": mean_over_ranks(error.sum(), torch.tensor(error.numel(), device=error.device)),
            },
            self.weights,
            metrics,
        )

    @torch.no_grad()
    def latents(self, images: Tensor, mask: Mask) -> Tensor:
        """The teacher's latents [B, M, E] of the hidden patches, the only ones that it sees."""
        return self.decoder.translate(self.teacher(images, Mask(~mask.hidden)).patches)

    def after_step(self, step: int) -> None:
        """Let the teacher follow."""
        self.teacher.update(self.encoder, step)
