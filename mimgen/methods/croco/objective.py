"""CroCo: complete an image with the help of another view of the same scene (arXiv 2210.10716).

Masked: most patches of the first view; the second is whole. In their place: nothing, then mask tokens in the
decoder. Looks: one encoder for both views; the decoder reads the second by cross-attention. Targets: pixels
of the first view. Loss: mean squared error on masked patches.

Both views must be cut and mirrored together, or their geometry is lost; colours may change apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.data.transforms.colours import NUMBERS, Colours
from mimgen.decoders.cross_attention import CrossViewDecoder
from mimgen.errors import UserError
from mimgen.methods.base import Masking
from mimgen.methods.croco.encoder import CrossViewVit
from mimgen.ops.distributed import distributed_mean
from mimgen.targets import Target
from mimgen.training import Trainable
from mimgen.types import Batch, Losses, Mask


class CroCo(Trainable):
    """Objective: mean over masked patches of the first view of the target's distance (CroCo, equation 2).

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
        if decoder.dim != target.dim:
            raise UserError(
                f"the decoder predicts {decoder.dim} numbers per patch and the target has {target.dim}: build both for "
                "the same patch"
            )
        self.encoder, self.decoder, self.target, self.masking = encoder, decoder, target, masking
        self.colours = Colours(1.0, jitter, jitter, jitter, hue=0.0, greyed=0.0, blurred=0.0) if jitter else None
        self.everywhere = everywhere

    def forward(self, batch: Batch) -> Losses:
        """Term "completion": distance of a masked patch."""
        if "second" not in batch.extras:
            raise UserError("this needs two views of each scene: pass --data parallax, or a folder of a/ and b/")
        first, second = batch.images, batch.extras["second"]
        rows, columns = (side // self.target.patch for side in first.shape[-2:])
        masked = self.masking((rows, columns), batch.rng).masked.to(first.device)
        if self.colours is not None:
            uniform = batch.rng.uniform(2, NUMBERS).to(first.device)
            first, second = (self.colours(view, uniform[:, i]) for i, view in enumerate((first, second)))
        return self.losses(first, second, Mask(masked))

    def losses(self, first: Tensor, second: Tensor, mask: Mask) -> Losses:
        """The loss for chosen patches.

        Args:
            first: [B, 3, H, W] in [0, 1], the view that is completed.
            second: [B, 3, H, W] in [0, 1], the view that helps.
            mask: of the patches of the first.
        """
        predicted = self.predict(first, second, mask)
        scored = torch.ones_like(mask.masked) if self.everywhere else mask.predict
        distance = self.target.loss(predicted[scored], self.target(first)[scored])
        return Losses({"completion": distributed_mean(distance.sum(), scored.sum())})

    def predict(self, first: Tensor, second: Tensor, mask: Mask | None = None) -> Tensor:
        """[B, N, D], what the decoder says of every patch of the first view [B, 3, H, W]."""
        return self.decoder(self.encoder(first, mask), self.encoder(second), mask)
