"""LocalMIM: low layers reconstruct fine cells, high layers coarse ones (arXiv 2303.05251)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mimgen.encoders.taps import check_taps, tap
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.base import Masking, Objective, grid_of
from mimgen.methods.localmim.decoders import LocalDecoder, at_scale
from mimgen.ops.distributed import distributed_mean
from mimgen.targets import Target
from mimgen.types import Batch, Losses, Mask


class LocalMIM(Objective):
    """L = sum over taps of sum(M distance) / sum(M) at the scale of the tap (LocalMIM, equation 4).

    Random patches are left out of the encoder. Each tapped layer has a decoder of one block, which predicts gradient
    histograms (or normalised pixels) of cells from a quarter of a patch to two patches per side; a cell weighs by
    its masked share.

    Args:
        encoder: what is kept afterwards. Its last norm is not trained here, as every tap has its own.
        decoders: one per tap, from the lowest.
        targets: one per tap, whose `patch` is the side of the cells: that of the encoder over the decoder's scale.
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
                f"{len(self.taps)} taps, {len(decoders)} decoders, {len(targets)} targets: give one of each per tap"
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
        # what galleries show is predicted per patch: the scale whose cells are patches, or else the coarsest
        sides = [target.patch for target in targets]
        self.shown = sides.index(encoder.patch) if encoder.patch in sides else len(sides) - 1

    @property
    def target(self) -> Target:  # type: ignore[override]
        """The target of what `predict` gives; registered once, among `targets`."""
        return self.targets[self.shown]  # type: ignore[return-value]

    def forward(self, batch: Batch, mask: Mask | None = None) -> Losses:
        """Terms "layer_1", "layer_3", ...: distance per masked cell at the scale of each tap."""
        mask = self.mask(batch) if mask is None else mask
        levels = tap(self.encoder, batch.images, mask, self.taps)
        terms = {}
        for block, tokens, decoder, target in zip(self.taps, levels, self.decoders, self.targets, strict=True):
            distance = target.loss(decoder(tokens, mask), target(batch.images, mask))  # type: ignore[operator]
            # in quarters, as `distributed_mean` takes a count of less than one for one
            weight = 4 * at_scale(mask.predict, tokens.grid, decoder.scale)  # type: ignore[arg-type]
            terms[f"layer_{block}"] = distributed_mean((weight * distance).sum(), weight.sum())
        return Losses(terms)

    def mask(self, batch: Batch) -> Mask:
        """The mask [B, N] of the encoder's patches, whatever the cells of the targets."""
        return self.masking(grid_of(batch.images, self.encoder.patch), batch.rng).to(batch.images.device)

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, n, D], the output of the decoder whose cells are patches (where none is, of the last), for all cells."""
        tokens = tap(self.encoder, batch.images, mask, self.taps)[self.shown]
        return self.decoders[self.shown](tokens, mask)
