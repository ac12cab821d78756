"""Hi-End-MAE: mask tokens ask the encoder's layers, from deep to shallow (arXiv 2502.08347).

Masked: random cells of a volume (or patches of an image). In their place: nothing, they are left out. Looks: a
plain transformer; a decoder whose every block reads another layer of it. Targets: voxels, each cell standardised.
Loss: mean squared error on masked cells.
"""

from __future__ import annotations

from math import prod

from torch import Tensor

from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.base import Masking
from mimgen.methods.hiendmae.decoder import HierarchicalDecoder
from mimgen.methods.hiendmae.encoder import VolumeVit
from mimgen.methods.hiendmae.target import VolumeTarget
from mimgen.methods.mim import MIM
from mimgen.types import Batch, Mask


class HiEndMAE(MIM):
    """Objective: MAE with a decoder that reads the encoder's taps (Hi-End-MAE).

    Args:
        encoder: of volumes or images; what is kept afterwards.
        decoder: reads the encoder's layers `decoder.taps`.
        target: cells of the same sides.
        masking: which cells are masked; it is given the first side and the product of the others as a grid.

    Raises:
        UserError: parts made for other cells, or a tap that the encoder does not have.
    """

    def __init__(
        self,
        encoder: VolumeVit,
        decoder: HierarchicalDecoder,
        target: VolumeTarget,
        masking: Masking | None = None,
    ) -> None:
        super().__init__(encoder, decoder, target, masking or Random(0.75))
        if encoder.cells != decoder.cells or encoder.cell != target.cell:
            raise UserError(
                f"the encoder has {encoder.cells} cells of {encoder.cell}, the decoder {decoder.cells}, the target "
                f"cells of {target.cell}: build them alike"
            )
        if any(not 0 <= tap < encoder.depth for tap in decoder.taps):
            raise UserError(f"taps {decoder.taps} are not all among the encoder's layers 0 to {encoder.depth - 1}")
        self.cells = encoder.cells

    def mask(self, batch: Batch) -> Mask:
        """The mask of volumes [B, C, S1, ..., Sn], one random stream per volume."""
        mask: Mask = self.masking((self.cells[0], prod(self.cells[1:])), batch.rng)
        return mask.to(batch.images.device)

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, D], what the decoder says of every cell of volumes [B, C, S1, ..., Sn]."""
        decoder: HierarchicalDecoder = self.decoder  # type: ignore[assignment]
        return decoder(self.encoder(batch.images, mask, layers=decoder.taps), mask)
