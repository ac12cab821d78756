"""Masked image modelling as a plain composition: encoder, decoder, target and masking, each of them any."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mimgen.methods.base import Masking, Objective, check_width
from mimgen.ops.distributed import distributed_mean
from mimgen.targets import Target
from mimgen.types import Batch, Losses, Mask


class MIM(Objective):
    """Mean over all predicted patches of the target's distance (MAE, section 3; SimMIM, equation 1).

    MAE is `VitEncoder` (masked patches are left out), `MaeDecoder` and pixels normalised per patch; SimMIM is an
    encoder with a mask token, `LinearDecoder`, raw pixels and absolute error.

    Args:
        encoder: takes images and a mask; what is kept after pretraining.
        decoder: (tokens, mask) -> [B, N, `target.dim`].
        target: what is predicted; its patches are the grid that is masked.
        masking: which patches are masked, and which of these are predicted.

    Raises:
        UserError: a decoder that predicts another number of values than the target has.
    """

    def __init__(self, encoder: nn.Module, decoder: Any, target: Target, masking: Masking) -> None:
        super().__init__()
        check_width(decoder, target)
        self.encoder, self.decoder, self.target, self.masking = encoder, decoder, target, masking

    def forward(self, batch: Batch, mask: Mask | None = None) -> Losses:
        """Term "reconstruction": distance per predicted patch."""
        mask = self.mask(batch) if mask is None else mask
        predicted = self.predict(batch, mask)[mask.predict]  # [S, D], the S predicted patches of the batch
        target = self.target(batch.images, mask)[mask.predict]  # [S, D]
        distance = self.target.loss(predicted, target).float()  # [S]
        # summed before dividing, so that a patch weighs the same on every process whatever its batch
        return Losses({"reconstruction": distributed_mean(distance.sum(), mask.predict.sum())})

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, D], the decoder's output for every patch."""
        return self.decoder(self.encoder(batch.images, mask), mask)
