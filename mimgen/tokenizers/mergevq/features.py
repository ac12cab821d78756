"""MergeVQ's encoder as an encoder to probe: tokens before quantisation, with or without merging."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.merging import Merged
from mimgen.tokenizers.contract import check_images
from mimgen.tokenizers.mergevq.model import MergeVQ
from mimgen.types import Tokens


class MergeVQEncoder(nn.Module):
    """The tokens of a MergeVQ under the encoder contract.

    Args:
        tokenizer: its encoder is used as it is, not copied.
        keep: tokens to keep, a square; None for all of them, which is how the paper probes.
        unmerge: copy merged tokens back to the full grid, so that patches are [B, N, D] whatever `keep` and
            their mean counts per token by its size.
    """

    def __init__(self, tokenizer: MergeVQ, keep: int | None = None, unmerge: bool = False) -> None:
        super().__init__()
        self.tokenizer, self.keep, self.unmerge = tokenizer, keep, unmerge
        self.dim: int = tokenizer.encoder.width
        self.depth: int = tokenizer.encoder.depth
        self.patch: int = tokenizer.downsample

    def forward(self, images: Tensor, *, layers: Sequence[int] = ()) -> Tokens:
        """[B, 3, H, W] in [0, 1] to patch tokens [B, K, D], the class token [B, 1, D] as prefix.

        With merging, the levels of early layers hold more tokens than those of later ones.

        Raises:
            UserError: images that do not divide, a keep count that does not work, or no such layer.
        """
        check_images(images, self.patch)
        for layer in layers:
            if not 0 <= layer < self.depth:
                raise UserError(f"layer {layer} does not exist: blocks are 0 to {self.depth - 1}")
        tokens = (images.shape[2] // self.patch) * (images.shape[3] // self.patch)
        merge_schedule = () if self.keep is None else self.tokenizer.merge_schedule(tokens, self.keep)
        encoded = self.tokenizer.encoder(images * 2 - 1, merge_schedule, layers)
        return Tokens(
            self._patches(encoded.tokens, encoded.merged),
            encoded.grid,
            encoded.tokens[:, :1],
            tuple(self._patches(*level) for level in encoded.levels),
        )

    def _patches(self, tokens: Tensor, merged: Merged) -> Tensor:
        """Tokens without the class token, on the full grid where asked for."""
        return (merged.unmerge(tokens) if self.unmerge else tokens)[:, 1:]
