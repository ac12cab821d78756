"""MAGE seen as an encoder: what its pretraining is for, beside generation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.generators.mage.model import MageTransformer
from mimgen.tokenizers import Tokenizer
from mimgen.types import Tokens


class MageEncoder(nn.Module):
    """Images through the tokenizer and MAGE's encoder, nothing masked (section 3.3).

    Args:
        transformer: whose encoder is meant.
        tokenizer: gives the ids it was trained on.

    Attributes:
        dim: width D of a patch token.
        depth: number of blocks.
        patch: pixels per side of a patch token.

    Raises:
        UserError: codebooks of two sizes.
    """

    def __init__(self, transformer: MageTransformer, tokenizer: Tokenizer) -> None:
        super().__init__()
        if tokenizer.codebook_size != transformer.codebook_size:
            raise UserError(
                f"the tokenizer has {tokenizer.codebook_size} codes and the transformer {transformer.codebook_size}: "
                "give the tokenizer that it was trained with"
            )
        self.transformer, self.tokenizer = transformer, tokenizer
        self.dim, self.depth, self.patch = transformer.dim, transformer.depth, tokenizer.downsample

    @torch.no_grad()
    def forward(self, images: Tensor, *, layers: Sequence[int] = ()) -> Tokens:
        """Images [B, 3, H, W] in [0, 1] to tokens [B, N, D], the class slot as prefix [B, 1, D].

        Args:
            images: the images, of the size that the transformer was built for.
            layers: blocks, counted from 0, whose tokens are returned as `levels`.

        Raises:
            UserError: a continuous tokenizer.
        """
        codes = self.tokenizer.encode(images).indices
        if codes is None:
            raise UserError("MAGE reads token ids, and this tokenizer is continuous: give one with a codebook")
        *levels, last = self.transformer.encode(codes.flatten(1), layers=tuple(layers))
        rows, columns = codes.shape[1:]
        return Tokens(last[:, 1:], (rows, columns), last[:, :1], tuple(level[:, 1:] for level in levels))
