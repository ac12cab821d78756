"""A small trainable text encoder that needs no vocabulary file and no download.

Bytes are grouped into words at spaces; a word is the mean of hashed embeddings of its bytes,
its byte 3-grams and itself (hash n-grams as in the Byte Latent Transformer, arXiv 2412.09871),
so unseen words are composed of known pieces. A small transformer then mixes the words.
"""

from __future__ import annotations

import functools
import re
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.layers.attention import attend
from mimgen.layers.norm import RMSNorm
from mimgen.pretrained import PretrainedModule

_WORD = re.compile(r"\w+|[^\w\s:,\-()]")


@dataclass(frozen=True)
class TextStates:
    """Encoded captions.

    Attributes:
        states: [B, T, D] one state a position.
        pooled: [B, P] one vector per caption.
    """

    states: Tensor
    pooled: Tensor


def words_of(caption: str) -> list[str]:
    """Lower-case words; signs that only structure a caption (: , - and brackets) are dropped."""
    return _WORD.findall(caption.lower().replace("_", " "))


@functools.lru_cache(maxsize=65536)
def word_pieces(word: str, buckets: int) -> tuple[int, ...]:
    """Bucket numbers of a word's bytes, its byte 3-grams and the whole word."""
    raw = b"^" + word.encode() + b"$"  # marked ends: prefixes and suffixes get 3-grams of their own
    grams = (
        [raw]
        + [raw[i : i + 3] for i in range(len(raw) - 2)]
        + [raw[i : i + 1] for i in range(1, len(raw) - 1)]
    )
    # crc32, as Python's hash() of bytes differs from process to process
    return tuple(zlib.crc32(bytes([len(gram) % 256]) + gram) % buckets for gram in grams)


class TextBlock(nn.Module):
    """Pre-norm self-attention and MLP. [B, T, D] -> [B, T, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).unbind(2)  # [B, T, H, d]
        x = x + self.out(attend(q, k, v, mask=present[:, None, None]).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class ByteTextEncoder(PretrainedModule):
    """Captions to word states and a pooled vector, trained together with the generator.

    Args:
        width: D of the states and the pooled vector.
        depth: transformer blocks over words.
        heads: attention heads.
        max_words: T; longer captions are cut with a warning.
        buckets: rows of the hashed embedding table.
        pooled_gain: factor on the pooled vector, so that it counts beside a generator's other conditions.
    """

    def __init__(
        self,
        width: int = 192,
        depth: int = 2,
        heads: int = 4,
        max_words: int = 16,
        buckets: int = 4096,
        pooled_gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.width = self.pooled_width = width
        self.max_words, self.buckets, self.pooled_gain = max_words, buckets, pooled_gain
        self.table = nn.EmbeddingBag(buckets, width, mode="mean")
        self.padding = nn.Parameter(torch.zeros(width))
        self.place = nn.Parameter(torch.zeros(max_words, width))
        self.blocks = nn.ModuleList([TextBlock(width, heads) for _ in range(depth)])
        self.norm = RMSNorm(width)
        nn.init.normal_(self.table.weight, std=0.3)
        nn.init.normal_(self.place, std=0.1)

    def encode(self, captions: Sequence[str]) -> TextStates:
        """B captions to states [B, T, D] and pooled [B, D]; "" gives the unconditional state."""
        split = [words_of(caption) for caption in captions]
        for caption, found in zip(captions, split, strict=True):
            if len(found) > self.max_words:
                warnings.warn(
                    f'only the first {self.max_words} of {len(found)} words are read of "{caption[:60]}..."',
                    stacklevel=2,
                )
        split = [found[: self.max_words] for found in split]
        present = torch.zeros(len(split), self.max_words, dtype=torch.bool)
        for row, found in enumerate(split):
            present[row, : len(found)] = True
        return self(self._words(split, present), present.to(self.device))

    def _words(self, split: list[list[str]], present: Tensor) -> Tensor:
        pieces = [word_pieces(word, self.buckets) for found in split for word in found]
        x = self.padding.expand(*present.shape, -1)
        if not pieces:
            # FSDP2 wants the same weights used on every rank, one whose captions are all dropped among them
            return x + 0 * self.table.weight[0]
        flat = torch.tensor([piece for word in pieces for piece in word], device=self.device)
        starts = torch.tensor([0] + [len(word) for word in pieces[:-1]], device=self.device).cumsum(0)
        return x.masked_scatter(present[..., None].to(self.device), self.table(flat, starts))

    def forward(self, words: Tensor, present: Tensor) -> TextStates:
        """words [B, T, D] and present [B, T] (true for real words) to `TextStates`."""
        x = words + self.place
        visible = present.clone()
        visible[:, 0] = True  # an empty caption still attends to one padding state
        for block in self.blocks:
            x = block(x, visible)
        x = self.norm(x)
        weights = visible[..., None].to(x.dtype)  # [B, T, 1]
        return TextStates(x, self.pooled_gain * (x * weights).sum(1) / weights.sum(1))
