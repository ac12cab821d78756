"""Any tokenizer as an encoder, so that probes read labels off its codes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.tokenizers.contract import ImageQuantizer
from mimgen.types import Tokens

ReadAfter = Literal["quantised", "codes"]
_LARGEST = 16_384  # one-hot codes of a larger book would fill the memory


class TokenizerEncoder(nn.Module):
    """Looks at images through a tokenizer; has the encoder contract of `mimgen.probing`.

    Attributes:
        dim: width D of a token; 0 until the first image where no single code can be looked up
            (continuous tokenizers, and those that take a fixed number of codes at once).
        depth: 0, as a tokenizer has its output alone.
        patch: pixels per side of a token.

    Args:
        tokenizer: any `ImageQuantizer`.
        after: "quantised", the latents that a decoder reads (D their channels); or "codes", the
            ids as one-hot vectors (D the codebook size), whose mean over an image is its
            histogram of codes.

    Raises:
        UserError: unknown `after`; "codes" of a continuous tokenizer or of more than 16,384 codes.
    """

    depth = 0

    def __init__(self, tokenizer: ImageQuantizer, after: ReadAfter = "quantised") -> None:
        super().__init__()
        if after not in get_args(ReadAfter):
            raise UserError(f"after={after!r} is unknown; choose from {', '.join(get_args(ReadAfter))}")
        if after == "codes" and not 0 < tokenizer.codebook_size <= _LARGEST:
            raise UserError(
                f'after="codes" wants between 1 and {_LARGEST} codes, this tokenizer has '
                f'{tokenizer.codebook_size}; use after="quantised"'
            )
        self.tokenizer = tokenizer
        self.after = after
        self.patch = tokenizer.downsample
        self.dim = tokenizer.codebook_size if after == "codes" else self._width()

    @property
    def device(self) -> torch.device:
        """Where the tokenizer is; some have buffers only, such as centroids."""
        tensors = itertools.chain(self.parameters(), self.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    def forward(self, images: Tensor, *, layers: Sequence[int] = ()) -> Tokens:
        """[B, 3, H, W] in [0, 1] -> Tokens with patches [B, h * w, D] on the grid of codes.

        Raises:
            UserError: `layers` are asked for, or the images do not divide into tokens.
        """
        if layers:
            raise UserError(f"a tokenizer has its output only, no layers {list(layers)}; leave `layers` out")
        codes = self.tokenizer.encode(images.to(self.device))
        if self.after == "codes":
            assert codes.indices is not None, "a tokenizer with a codebook always fills indices"
            plane = F.one_hot(codes.indices, self.tokenizer.codebook_size).movedim(-1, 1).float()
        else:
            plane = codes.latents.float()
        self.dim = plane.shape[1]
        patches = plane.flatten(2).transpose(1, 2)  # [B, h w, D]
        height, width = plane.shape[-2:]
        return Tokens(patches, (height, width), patches.new_zeros(len(patches), 0, self.dim))

    def _width(self) -> int:
        if not self.tokenizer.codebook_size:
            return 0
        try:
            return self.tokenizer.lookup(torch.zeros(1, 1, 1, dtype=torch.int64, device=self.device)).shape[1]
        except UserError:
            return 0
