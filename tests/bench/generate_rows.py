"""The rows of `python -m tests.bench generate`: what is switched on in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from mimgen.generators.meissonic.speed import PLAIN, FeatureCache, Speed
from mimgen.training.precision import choose_precision
from tests.bench.generate_peers import BLOCKS, UVIT

__all__ = ["EXACT", "KINDS", "PLAIN_LOOP", "Row", "every_row", "rows"]

Kind = Literal["plain", "exact", "inexact", "peer"]
Loop = Literal["plain", "batched", "masked", "pipeline", "peer"]
Weights = Literal["as they are", "bf16", "int8"]

KINDS: tuple[Kind, ...] = ("plain", "exact", "inexact", "peer")
PLAIN_LOOP, EXACT = "plain loop", "all exact"


@dataclass(frozen=True)
class Row:
    """A way to generate an image.

    Attributes:
        name: in the table; of a peer its own.
        kind: what it is compared as: exact ones must give the tokens of the plain loop.
        loop: "plain", logits of all tokens in two passes; "batched", the same in one pass; "masked", two passes with
            logits of the masked tokens only; "pipeline", as `mimgen generate` generates; "peer", diffusers' scheduler.
        preset: fields of `Preset` that are changed.
        weights: in which form they are multiplied.
    """

    name: str
    kind: Kind
    loop: Loop = "pipeline"
    preset: Mapping[str, Any] = field(default_factory=dict)
    weights: Weights = "as they are"

    @property
    def compiled(self) -> bool:
        """Whether a compiler takes part."""
        return self.speed.compile

    @property
    def countable(self) -> bool:
        """Whether a counter sees all products: not those of compiled code and of quantised weights."""
        return not self.compiled and self.weights != "int8"

    @property
    def speed(self) -> Speed:
        """The savings of the pipeline."""
        speed = self.preset.get("speed", Speed())
        assert isinstance(speed, Speed)
        return speed


def rows(steps: int, precision: str, device: str) -> list[Row]:
    """The rows that can be had here.

    Args:
        steps: of a whole image; some rows take a part of them.
        precision: "fp32" or "bf16" of all rows; a row of its own for bf16 needs a machine with such instructions.
        device: "cpu" or "cuda".
    """
    lacking = set()
    if precision != "fp32" or choose_precision("auto", torch.device(device)).name != "bf16":
        lacking.add("bf16")
    if not _torchao_works():
        lacking.add("int8")
    return [row for row in every_row(steps) if row.weights not in lacking]


def every_row(steps: int) -> list[Row]:
    """All rows, the same on every machine.

    The savings of the inexact ones are added to all exact savings. A feature cache saves most where the order is known
    beforehand, so most of its rows generate in the Halton order.
    """
    return [Row(PLAIN_LOOP, "plain", "plain"), *_exact(), *_inexact(steps), *_peers()]


def _exact() -> list[Row]:
    def only(**switches: Any) -> Mapping[str, Any]:
        return {"speed": replace(PLAIN, **switches)}

    return [
        Row("batched guidance", "exact", "batched"),
        Row("logits of masked tokens only", "exact", "masked"),
        Row("both of these", "exact", preset={"speed": PLAIN}),
        Row("+ text once", "exact", preset=only(text_once=True)),
        Row("+ guidance before the last layer", "exact", preset=only(guide_features=True)),
        Row("+ last block where asked", "exact", preset=only(last_block=True)),
        Row("+ torch.compile", "exact", preset=only(compile=True)),
        Row(EXACT, "exact", preset={"speed": Speed()}),
        Row(f"{EXACT}, torch.compile", "exact", preset={"speed": Speed(compile=True)}),
    ]


def _inexact(steps: int) -> list[Row]:
    halton, half, third = {"order": "halton"}, {"steps": max(1, steps // 2)}, {"steps": max(1, steps // 3)}

    def cache(every: int, **options: Any) -> dict[str, Any]:
        return {"speed": Speed(cache=FeatureCache(every, **options))}

    changes: dict[str, Mapping[str, Any]] = {
        "guidance in the first half": {"guidance_interval": (0.0, 0.5)},
        "guidance in the second half": {"guidance_interval": (0.5, 1.0)},
        "guidance anew every 2 steps": {"speed": Speed(guidance_every=2)},
        "feature cache every 4": cache(4),
        "Halton": halton,
        "Halton, feature cache every 2": {**halton, **cache(2)},
        "Halton, feature cache every 4": {**halton, **cache(4)},
        "Halton, feature cache every 8": {**halton, **cache(8)},
        "Halton, feature cache every 4, drop": {**halton, **cache(4, compress="drop")},
        "Halton, feature cache every 4, merge": {**halton, **cache(4, compress="merge")},
        "Halton, half the steps": {**halton, **half},
        "Halton, a third of the steps": {**halton, **third},
        "Halton, half the steps, feature cache every 2": {**halton, **half, **cache(2)},
        "all together": {
            **halton, **half, "guidance_interval": (0.0, 0.5), "speed": Speed(cache=FeatureCache(4)),
        },
    }  # fmt: skip
    return [
        *(Row(name, "inexact", preset=preset) for name, preset in changes.items()),
        Row("bf16", "inexact", weights="bf16"),
        Row("int8 weights", "inexact", weights="int8"),
    ]


def _torchao_works() -> bool:
    """Whether int8 weights are there: the library may be absent, or of another PyTorch."""
    try:
        from torchao.quantization import Int8WeightOnlyConfig  # noqa: F401
    except (ImportError, AttributeError, OSError):
        return False
    return True


def _peers() -> list[Row]:
    return [Row(BLOCKS, "peer", "peer"), Row(UVIT, "peer", "peer")]
