"""A generator seen as an encoder, so that probes and analysis can use it like any other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from mimgen.generators.meissonic.model import MeissonicTransformer
from mimgen.layers.attention import attention_maps
from mimgen.tokenizers import Tokenizer
from mimgen.types import Tokens


class _TextStates(Protocol):
    @property
    def states(self) -> Tensor: ...

    @property
    def pooled(self) -> Tensor: ...


class _TextEncoder(Protocol):
    def encode(self, captions: Sequence[str]) -> _TextStates: ...


class GeneratorEncoder(nn.Module):
    """Images through the tokenizer and the generator's blocks, nothing masked, the caption empty.

    Args:
        transformer: the generator.
        tokenizer: gives the ids it was trained on.
        text_encoder: gives the empty caption.

    Attributes:
        dim: width D of a patch token.
        depth: number of blocks.
        patch: pixels per side of a patch token.
    """

    def __init__(
        self, transformer: MeissonicTransformer, tokenizer: Tokenizer, text_encoder: _TextEncoder
    ) -> None:
        super().__init__()
        self.transformer, self.tokenizer, self.text_encoder = transformer, tokenizer, text_encoder
        self.dim = transformer.width
        self.depth = len(transformer.transformer_blocks) + len(transformer.single_transformer_blocks)
        self.patch = tokenizer.downsample * transformer.compression

    @torch.no_grad()
    def forward(
        self, images: Tensor, *, layers: Sequence[int] = (), attention: Sequence[int] = ()
    ) -> Tokens:
        """Images [B, 3, H, W] in [0, 1] to tokens [B, N, D].

        Args:
            images: the images.
            layers: blocks, counted from 0, whose tokens are returned as `levels`.
            attention: blocks whose maps among image tokens [B, H, N, N] are returned; what is missing of a
                row's 1 goes to the empty caption.
        """
        codes = self.tokenizer.encode(images).indices
        if codes is None:
            raise ValueError("the generator reads token ids; this tokenizer is continuous")
        text = self.text_encoder.encode([""] * len(images))
        height, width = images.shape[-2:]
        # uncropped, and the score 6 that the release samples with
        sizes = torch.tensor([width, height, 0, 0, 6], dtype=torch.float32, device=images.device)
        shows: AbstractContextManager[list[Tensor]] = attention_maps() if attention else nullcontext([])
        with shows as maps:
            patches, levels = self.transformer.hidden(
                codes,
                text.states,
                text.pooled,
                torch.zeros(1, device=images.device),
                sizes.expand(len(images), -1),
                layers=tuple(layers),
            )
        count = patches.shape[1]  # the text comes first
        shown = tuple(maps[block][..., -count:, -count:] for block in attention)  # [B, H, N, N] each
        return Tokens(patches, self.transformer.trunk_grid(*codes.shape[1:]), patches[:, :0], levels, shown)
