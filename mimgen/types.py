"""The records that travel between the parts of mimgen.

Shape legend, used in every docstring of the package:

==  ==========================================
B   batch (images)
C   channels
H   height of an image, or heads where attention is meant
W   width of an image
N   patches or image tokens (N = h * w on a grid of h rows and w columns)
M   masked image tokens
K   kept patches, or codebook size where logits are meant
D   width of a token
T   text tokens
==  ==========================================

Images are float32 in [0, 1] wherever they cross a public boundary; a part that wants another
range converts inside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


def mix_seed(*parts: int | str) -> int:
    """Hash any number of integers and words to one 63-bit seed; the same on every machine."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


class SampleRNG:
    """Random numbers with one independent stream per row.

    A row's numbers depend on its own seed only, so an image comes out the same whatever the
    batch size, the process count or its place in the batch.

    Args:
        seeds: B integers, one per row.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = tuple(int(seed) for seed in seeds)
        self._generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]

    @classmethod
    def for_rows(cls, seed: int, step: int, rows: Sequence[int]) -> SampleRNG:
        """Streams of training step `step` for the global batch positions `rows`."""
        return cls([mix_seed(seed, step, row) for row in rows])

    def __len__(self) -> int:
        return len(self.seeds)

    def uniform(self, *shape: int) -> Tensor:
        """[B, *shape] float32 in [0, 1)."""
        return torch.stack([torch.rand(shape, generator=g) for g in self._generators])

    def normal(self, *shape: int) -> Tensor:
        """[B, *shape] float32, mean 0, standard deviation 1."""
        return torch.stack([torch.randn(shape, generator=g) for g in self._generators])

    def gumbel(self, *shape: int) -> Tensor:
        """[B, *shape] float32 standard Gumbel noise, -log(-log u)."""
        noise = self.uniform(*shape).clamp(min=1e-20)
        return -(-noise.log()).clamp(min=1e-20).log()


@dataclass(frozen=True)
class Batch:
    """What the loader hands to an objective.

    Attributes:
        images: [B, 3, H, W] float32 in [0, 1]; other data may have other channels, units or a third dimension.
        captions: B strings, empty where an image has none.
        keys: B sample names (for logs).
        labels: named class labels, each [B] int64, for example "group".
        rng: random streams, one per row.
        codes: [B, h, w] int64 cached token ids, when a tokenizer was run beforehand.
        sizes: [B, 5] float32 micro-conditions (width, height, crop left, crop top, score).
        extras: what else some data have, one row per image: "second" [B, 3, H, W], another view of the same scene;
            "keypoints" [B, J, 3], column and row in pixels and 1 where the joint was seen, else 0;
            "segmentation" [B, H, W], class of each pixel, or of each voxel of a volume.
        step: the optimiser step under way, counted from 1; the training loop sets it.
        steps: of the run; 0 outside a run.
    """

    images: Tensor
    captions: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    rng: SampleRNG = field(default_factory=lambda: SampleRNG(()))
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    codes: Tensor | None = None
    sizes: Tensor | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    step: int = 1
    steps: int = 0

    def __len__(self) -> int:
        return len(self.images)

    @property
    def progress(self) -> float:
        """Share of the run that was done before this step, in [0, 1]; 0 outside a run."""
        return min((self.step - 1) / self.steps, 1.0) if self.steps else 0.0


@dataclass(frozen=True)
class Mask:
    """Which tokens are masked and which of the masked ones are scored.

    Attributes:
        masked: [B, N] boolean, true where the token is masked.
        scored: [B, N] boolean subset of `masked`; all of it when None.
        replaced: [B, N] boolean, visible tokens that become a mask token all the same; None for none.
    """

    masked: Tensor
    scored: Tensor | None = None
    replaced: Tensor | None = None

    @property
    def predict(self) -> Tensor:
        """[B, N] boolean, the masked tokens that enter the loss."""
        return self.masked if self.scored is None else self.scored

    def to(self, device: torch.device | str) -> Mask:
        """The same mask with its tensors on `device`."""
        others = (None if part is None else part.to(device) for part in (self.scored, self.replaced))
        return Mask(self.masked.to(device), *others)

    @cached_property
    def _order(self) -> Tensor:
        counts = self.masked.sum(1)
        if not bool((counts == counts[0]).all()):
            raise ValueError(
                "rows of this mask cover different numbers of tokens, so it has no index form; "
                "use `masked`, or a masking strategy with a fixed count"
            )
        return torch.argsort(self.masked.to(torch.int8), dim=1, stable=True)

    @cached_property
    def keep(self) -> Tensor:
        """[B, K] int64 positions of the visible tokens, ascending."""
        return self._order[:, : self.masked.shape[1] - int(self.masked[0].sum())]

    @cached_property
    def drop(self) -> Tensor:
        """[B, N - K] int64 positions of the masked tokens, ascending."""
        return self._order[:, self.masked.shape[1] - int(self.masked[0].sum()) :]

    @cached_property
    def restore(self) -> Tensor:
        """[B, N] int64; gathers [visible, masked] back into the order of the image."""
        return torch.argsort(self._order, dim=1)


@dataclass(frozen=True)
class Tokens:
    """What an encoder returns.

    Attributes:
        patches: [B, K, D] patch tokens.
        grid: rows and columns of the full grid.
        prefix: [B, P, D] class or register tokens, P may be 0.
        levels: intermediate patch tokens, one [B, K, D] for each layer asked for.
        attention: [B, H, T, T] attention maps of the layers asked for.
    """

    patches: Tensor
    grid: tuple[int, int]
    prefix: Tensor
    levels: tuple[Tensor, ...] = ()
    attention: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Codes:
    """What a tokenizer returns.

    Attributes:
        indices: [B, h, w] int64 token ids, or None for a continuous tokenizer.
        latents: [B, D, h, w] what the decoder reads (quantised where there is a codebook).
        losses: named scalars that train the quantiser, already weighted.
        source: [B, K, N] 0/1 matrix of a merging tokenizer, else None.
    """

    indices: Tensor | None
    latents: Tensor
    losses: Mapping[str, Tensor] = field(default_factory=dict)
    source: Tensor | None = None


@dataclass(frozen=True)
class Losses:
    """What an objective returns.

    Attributes:
        terms: named scalars.
        weights: weight of each term, 1 where absent.
        metrics: further scalars to log; they carry no gradient.
    """

    terms: Mapping[str, Tensor]
    weights: Mapping[str, float | Tensor] = field(default_factory=dict)
    metrics: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """The weighted sum that is differentiated."""
        parts = [self.weights.get(name, 1.0) * term for name, term in self.terms.items()]
        return torch.stack([part.float() for part in parts]).sum()
