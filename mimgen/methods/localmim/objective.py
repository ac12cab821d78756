"""LocalMIM: several layers of the encoder reconstruct, low ones fine cells, high ones coarse ones (arXiv 2303.05251).

Masked: random patches. In their place: nothing. Looks: a ViT, and a decoder of one block for each tapped
layer. Targets: gradient histograms, or normalised pixels, of cells from a quarter of a patch to two
patches per side. Loss: squared error of each scale, a cell weighing by its masked share; the scales are added.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mimgen.encoders.taps import check_taps, tap
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.base import Masking
from mimgen.methods.localmim.decoders import LocalDecoder, at_scale
from mimgen.ops.distributed import distributed_mean
from mimgen.targets import Target
from mimgen.training import Trainable
from mimgen.types import Batch, Losses, Mask


class LocalMIM(Trainable):
    """Objective: L = sum over taps of sum(M distance) / sum(M) at the scale of the tap (LocalMIM, equation 4).

    Args:
        encoder: what is kept afterwards. Its last norm is not trained here, as every tap has its own.
        decoders: one a tap, from the lowest.
        targets: one a tap, whose `patch` is the side of the cells: that of the encoder over the decoder's scale.
        taps: blocks counted from 0, ascending; 1, 3, 9, 11 for 12 blocks.
        masking: which patches are masked.

    Raises:
        UserError: other numbers of taps, decoders and targets, or a decoder that does not fit its target.
    """

    def __init__(
        self,
        encoder: VitEncoder,
        decoders: Sequence[LocalDecoder],
        targets: Sequence[Target],
        taps: Sequence[int],
        masking: Masking | None = None,
    ) -> None:
        super().__init__()
        self.taps = check_taps(taps, encoder.depth)
        if not len(self.taps) == len(decoders) == len(targets):
            raise UserError(
                f"{len(self.taps)} taps, {len(decoders)} decoders, {len(targets)} targets: give one of each a tap"
            )
        for decoder, target in zip(decoders, targets, strict=True):
            if decoder.dim != target.dim or target.patch * decoder.scale != encoder.patch:
                raise UserError(
                    f"a decoder of {decoder.dim} numbers at scale {decoder.scale:g} does not fit a target of "
                    f"{target.dim} numbers for cells of {target.patch} px: with patches of {encoder.patch} px the "
                    f"cells have {encoder.patch / decoder.scale:g}"
                )
        self.encoder, self.masking = encoder, masking or Random(0.75)
        self.decoders, self.targets = nn.ModuleList(decoders), nn.ModuleList(targets)  # type: ignore[arg-type]

    def forward(self, batch: Batch) -> Losses:
        """Terms "layer_1", "layer_3", ...: distance of a masked cell as each tap tells it."""
        images = batch.images
        height, width = (side // self.encoder.patch for side in images.shape[-2:])
        mask = self.masking((height, width), batch.rng)
        scored = None if mask.scored is None else mask.scored.to(images.device)
        return self.losses(images, Mask(mask.masked.to(images.device), scored))

    def losses(self, images: Tensor, mask: Mask) -> Losses:
        """The losses of images [B, 3, H, W] in [0, 1] for a chosen mask of their patches."""
        terms = {}
        levels = tap(self.encoder, images, mask, self.taps)
        for block, tokens, decoder, target in zip(self.taps, levels, self.decoders, self.targets, strict=True):
            assert isinstance(decoder, LocalDecoder)
            distance = target.loss(decoder(tokens, mask), target(images, mask))  # type: ignore[operator]
            # in quarters, as a mean of less than one is taken as over one
            weight = 4 * at_scale(mask.predict, tokens.grid, decoder.scale)
            terms[f"layer_{block}"] = distributed_mean((weight * distance).sum(), weight.sum())
        return Losses(terms)
