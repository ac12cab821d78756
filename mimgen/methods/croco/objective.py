"""CroCo: complete an image with the help of another view of the same scene (arXiv 2210.10716).

Both views must be cut and mirrored together, or their geometry is lost; colours may change apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.data.transforms.colours import NUMBERS, Colours
from mimgen.errors import UserError
from mimgen.methods.base import Masking, Objective, check_width
from mimgen.methods.croco.decoder import CrossViewDecoder
from mimgen.methods.croco.encoder import CrossViewVit
from mimgen.ops.distributed import distributed_mean
from mimgen.targets import Target
from mimgen.types import Batch, Losses, Mask


class CroCo(Objective):
    """Mean over masked patches of the first view of the target's distance (CroCo, equation 2).

    Most patches of the first view are left out of the encoder; the second view is encoded whole by the same
    encoder. The decoder fills the first with mask tokens and reads the second by cross-attention.

    Args:
        encoder: of both views; what is kept afterwards.
        decoder: predicts `target.dim` numbers per patch.
        target: what is predicted of the first view.
        masking: which patches of the first view are masked.
        jitter: largest relative change of brightness, contrast and saturation, sampled for each view; 0.4 in the paper.
        everywhere: score visible patches, too.

    Raises:
        UserError: a decoder that predicts another number of values than the target has.
    """

    def __init__(
        self,
        encoder: CrossViewVit,
        decoder: CrossViewDecoder,
        target: Target,
        masking: Masking,
        *,
        jitter: float = 0.0,
        everywhere: bool = False,
    ) -> None:
        super().__init__()
        check_width(decoder, target)
        self.encoder, self.decoder, self.target, self.masking = encoder, decoder, target, masking
        self.colours = Colours(1.0, jitter, jitter, jitter, hue=0.0, greyed=0.0, blurred=0.0) if jitter else None
        self.everywhere = everywhere

    def forward(self, batch: Batch, mask: Mask | None = None) -> Losses:
        """Term "completion": distance per masked patch.

        Raises:
            UserError: the batch has no second view.
        """
        mask = self.mask(batch) if mask is None else mask
        first, second = batch.images, second_view(batch)
        if self.colours is not None:
            uniform = batch.rng.uniform(2, NUMBERS).to(first.device)
            first, second = (self.colours(view, uniform[:, i]) for i, view in enumerate((first, second)))
        scored = torch.ones_like(mask.masked) if self.everywhere else mask.predict
        predicted = self.complete(first, second, mask)[scored]  # [S, D]
        distance = self.target.loss(predicted, self.target(first)[scored])
        return Losses({"completion": distributed_mean(distance.sum(), scored.sum())})

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, D], the decoder's output for every patch of the first view."""
        return self.complete(batch.images, second_view(batch), mask)

    def complete(self, first: Tensor, second: Tensor, mask: Mask | None = None) -> Tensor:
        """[B, N, D] for every patch of `first` [B, 3, H, W], of which `mask` is left out, with the help of `second`."""
        return self.decoder(self.encoder(first, mask), self.encoder(second), mask)


def second_view(batch: Batch) -> Tensor:
    """The second views [B, 3, H, W] of a batch."""
    if "second" not in batch.extras:
        raise UserError("this needs two views of each scene: pass --data parallax, or a folder of a/ and b/")
    return batch.extras["second"]
