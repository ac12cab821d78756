"""Two encoders side by side: which layers agree, and who behaves like contrastive learning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.analysis.cka import MinibatchCka
from mimgen.analysis.encoder import Encoder, in_batches, levels_of, resting, run_encoder
from mimgen.analysis.layers import Analysis
from mimgen.errors import UserError

__all__ = ["SIGNS", "Sign", "cross_cka", "late", "signs"]

# Sign of (contrastive - masked image modelling) in the last third of the layers: Park et al., ICLR 2023.
SIGNS: Mapping[str, int] = {"attention_distance": 1, "attention_nmi": -1, "high_frequency": -1}


@dataclass(frozen=True)
class Sign:
    """One measure of two encoders in their late layers.

    Attributes:
        first: mean over the last third of the first encoder's layers.
        second: the same of the second encoder.
        contrastive: "first", "second" or "neither": whose value lies on the side on which contrastive
            learning lies against masked image modelling.
    """

    first: float
    second: float
    contrastive: str


def cross_cka(
    first: Encoder, images: Tensor, second: Encoder, others: Tensor | None = None, *, batch_size: int = 16
) -> Tensor:
    """Linear CKA between every layer of one encoder and every layer of another, by batches, unbiased.

    Args:
        first: an encoder with L - 1 blocks and an output.
        images: [n, 3, H, W] in [0, 1].
        second: an encoder with M - 1 blocks and an output.
        others: the same images at the second encoder's size; `images` where it is the same.
        batch_size: images at a time.

    Returns:
        [L, M] float64.

    Raises:
        UserError: other numbers of images, or too few.
    """
    others = images if others is None else others
    if len(others) != len(images):
        raise UserError(f"{len(images)} and {len(others)} images: both encoders must see the same ones")
    cka = MinibatchCka()
    with resting(first), resting(second), torch.no_grad():
        for left, right in zip(in_batches(images, batch_size), in_batches(others, batch_size), strict=True):
            cka.add(*(tuple(level.cpu() for level in levels_of(run_encoder(*pair)))
                      for pair in ((first, left), (second, right))))  # fmt: skip
    return cka.value()


def late(analysis: Analysis, name: str) -> float:
    """Mean of a measure over the last third of the layers that have it; NaN where none has."""
    values = analysis.means()[name]
    values = values[values.isfinite()]
    return float(values[-max(1, len(values) // 3) :].mean()) if len(values) else math.nan


def signs(first: Analysis, second: Analysis) -> dict[str, Sign]:
    """The measures in which contrastive learning and masked image modelling are known to differ.

    Distances are shares of what uniform attention reaches, so that images of different sizes compare.
    Measures that one of the two lacks are left out.
    """
    found = {}
    for name, direction in SIGNS.items():
        a, b = (_scaled(analysis, name) for analysis in (first, second))
        if math.isfinite(a) and math.isfinite(b):
            ahead = direction * (a - b)
            found[name] = Sign(a, b, "first" if ahead > 0 else "second" if ahead < 0 else "neither")
    return found


def _scaled(analysis: Analysis, name: str) -> float:
    return late(analysis, name) / (analysis.uniform_distance if name == "attention_distance" else 1.0)
