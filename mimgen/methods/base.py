"""What every method of masked image modelling answers, and what most of them share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from mimgen.errors import UserError
from mimgen.targets import PixelTarget
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


class Objective(Trainable):
    """A method: what is masked, what takes its place, who sees it, what is predicted, how far off it is.

    Training, galleries, probes and studies speak to these five members only.

    Attributes:
        encoder: what is kept after pretraining; a `PretrainedModule`.
        target: what is predicted for a masked patch; its `patch` is the side of the cells of the mask.
        masking: (grid, random streams) -> mask.
    """

    encoder: Any
    target: Any
    masking: Any

    @abstractmethod
    def forward(self, batch: Batch) -> Losses:
        """The losses of a batch, in the order mask, encode, decode, target, loss.

        Methods with one view of an image take a mask chosen by the caller as a second argument.
        """

    def mask(self, batch: Batch) -> Mask:
        """The mask [B, N] of `batch.images`; of several views the first."""
        grid = grid_of(batch.images, self.target.patch)
        mask: Mask = self.masking(grid, batch.rng)
        return mask.to(batch.images.device)  # random streams lie on the CPU, where they are exact

    @abstractmethod
    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, D], the prediction for every patch of `batch.images`, in the units of the target.

        Where a method predicts masked patches only, the other rows are 0.
        """

    def reconstruct(self, batch: Batch, mask: Mask) -> Tensor | None:
        """The prediction as images [B, 3, H, W] in [0, 1]; None where the target is not the pixels of one image.

        Where the target is normalised per patch, the mean and the variance of the true patch are put back: a
        prediction does not contain them, so colours and contrast are borrowed from the image.
        """
        if not isinstance(self.target, PixelTarget):
            return None
        return self.target.unnormalised(self.predict(batch, mask), batch.images)


def grid_of(images: Tensor, patch: int) -> tuple[int, int]:
    """Rows and columns of patches of images [B, C, H, W]."""
    return images.shape[-2] // patch, images.shape[-1] // patch


def check_width(decoder: Any, target: Any) -> None:
    """Refuse a decoder that predicts another number of values per patch than the target has.

    Raises:
        UserError: the two widths differ.
    """
    if decoder.dim != target.dim:
        raise UserError(
            f"the decoder predicts {decoder.dim} numbers per patch and the target has {target.dim}: build both for "
            "the same patch"
        )


def scatter_masked(values: Tensor, mask: Mask) -> Tensor:
    """Values [B, M, D] of the masked patches, ascending, at their positions among all: [B, N, D], 0 elsewhere."""
    full = values.new_zeros(*mask.masked.shape, values.shape[-1])
    return full.scatter(1, mask.drop[..., None].expand_as(values), values)  # [B, N, D]
