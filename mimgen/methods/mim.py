"""Masked image modelling as a plain composition: encoder, decoder, target and masking, each of them any.

Masked: what the masking says. In its place: nothing, or a mask token; the encoder knows. Looks: the
encoder, then the decoder. Targets: those of `target`. Loss: the target's own distance on scored patches.

MAE is `VitEncoder` (masked patches left out), `MaeDecoder`, normalised pixels; SimMIM is an encoder with
mask token (`MaskTokenVit`, `SwinEncoder`), `LinearDecoder`, raw pixels and absolute error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.ops.distributed import distributed_mean
from mimgen.targets import Target
from mimgen.training import Trainable
from mimgen.types import Batch, Losses, Mask, SampleRNG, Tokens

Masking = Callable[[tuple[int, int], SampleRNG], Mask]


class Decoder(Protocol):
    """From an encoder's tokens to a prediction for every patch.

    Attributes:
        dim: numbers predicted for a patch.
    """

    dim: int

    def __call__(self, tokens: Tokens, mask: Mask, /) -> Tensor:
        """Tokens, as the encoder gave them for `mask`, to [B, N, dim]."""
        ...


class MIM(Trainable):
    """Objective: mean over all scored patches of the target's distance (MAE, section 3; SimMIM, equation 1).

    Args:
        encoder: takes images and a mask; what is kept afterwards.
        decoder: predicts `target.dim` numbers per patch.
        target: what is predicted; its patches are the grid that is masked.
        masking: which patches are masked.

    Raises:
        UserError: a decoder that predicts another number of values than the target has.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, target: Target, masking: Masking) -> None:
        super().__init__()
        if decoder.dim != target.dim:
            raise UserError(
                f"the decoder predicts {decoder.dim} numbers per patch and the target has {target.dim}: build both for "
                "the same patch"
            )
        self.encoder, self.decoder, self.target, self.masking = encoder, decoder, target, masking

    def forward(self, batch: Batch) -> Losses:
        """Term "reconstruction": distance of a scored patch."""
        return self.losses(batch.images, self.mask(batch.images, batch.rng))

    def mask(self, images: Tensor, rng: SampleRNG) -> Mask:
        """The mask of images [B, 3, H, W], one stream of `rng` an image."""
        height, width = images.shape[-2:]
        mask = self.masking((height // self.target.patch, width // self.target.patch), rng)
        scored = None if mask.scored is None else mask.scored.to(images.device)
        return Mask(mask.masked.to(images.device), scored)

    def losses(self, images: Tensor, mask: Mask) -> Losses:
        """The loss of images [B, 3, H, W] in [0, 1] for a chosen mask of their patches."""
        distance, scored = self.distances(images, mask), mask.predict
        return Losses({"reconstruction": distributed_mean(distance[scored].sum(), scored.sum())})

    def distances(self, images: Tensor, mask: Mask) -> Tensor:
        """[B, N] distance of every scored patch, 0 at the others."""
        predicted, scored = self.predict(images, mask), mask.predict
        distance = torch.zeros(scored.shape, device=images.device)
        goal = self.target(images, mask)[scored]
        return distance.masked_scatter(scored, self.target.loss(predicted[scored], goal).float())

    def predict(self, images: Tensor, mask: Mask) -> Tensor:
        """[B, N, D], what the decoder says of every patch of images [B, 3, H, W]."""
        return self.decoder(self.encoder(images, mask), mask)
