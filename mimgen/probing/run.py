"""Several probes of one encoder on one data set: `run_probes`, which `mimgen probe` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.layers.pooling import ProbeHead
from mimgen.probing.data import ProbeData, load_masks, own_masks
from mimgen.probing.features import Pooling
from mimgen.probing.finetune import FineTune
from mimgen.probing.open import LoadedEncoder, features_of
from mimgen.probing.probes import PROBES, check_probes
from mimgen.probing.rows import ProbeRow, best_rows, check_seeds, probe_levels

__all__ = ["AttentionExample", "ProbeReport", "ProbeSettings", "layers_of", "run_probes"]

_SHOWN = 64  # test images whose tokens are kept, to show where an attentive probe looks


@dataclass(frozen=True)
class ProbeSettings:
    """How an encoder is probed.

    Attributes:
        layers: "last", "all", or numbers from 0 on, negative ones counted from the end; the depth means the output.
        pooling: how probes that read vectors get one per image.
        seeds: of the probes and of the sampled images.
        few_shot: also with so many images per class, sampled anew for each seed.
        masks: folder of class numbers by pixel for segmentation; by default the data's own.
        fine_tune: how the whole encoder is trained.
        batch_size: images at a time when features are computed.
        workers: processes that compute features.
        cache: where features are kept; by default `mimgen.probing.open.default_cache()`.
    """

    layers: str | Sequence[int] = "last"
    pooling: Pooling = "mean"
    seeds: Sequence[int] = (0, 1, 2)
    few_shot: Sequence[int] = ()
    masks: Path | None = None
    fine_tune: FineTune = field(default_factory=FineTune)
    batch_size: int = 64
    workers: int = 1
    cache: Path | None = None

    def __post_init__(self) -> None:
        check_seeds(self.seeds)
        if any(count < 1 for count in self.few_shot):
            raise UserError(f"few-shot {', '.join(map(str, self.few_shot))}: give at least 1 image per class")

    def protocol(self, rows: Sequence[ProbeRow]) -> dict[str, Any]:
        """JSON: what two results with these rows must share to be comparable, besides the data."""
        found: dict[str, Any] = {
            "layers": self.layers if isinstance(self.layers, str) else ",".join(map(str, self.layers)),
            "pooling": self.pooling,
            "seeds": ",".join(map(str, self.seeds)),
        }
        if any(row.probe == "fine-tune" for row in rows):
            names = ("epochs", "layer_decay", "mixup", "label_smoothing", "drop_path")
            found["fine_tune"] = {name: getattr(self.fine_tune, name) for name in names}
        if self.masks is not None:
            found["masks"] = str(self.masks)
        return found


@dataclass(frozen=True)
class AttentionExample:
    """Where an attentive probe looks: its head, and tokens [n, N, D] of some test images with their grid."""

    probe: str
    head: ProbeHead
    tokens: Tensor
    grid: tuple[int, int]


@dataclass(frozen=True)
class ProbeReport:
    """What came of probing an encoder.

    Attributes:
        encoder: what was probed.
        data: on what.
        settings: how.
        rows: one for each probe, layer and number of images per class.
        attention: of each attentive probe, on the last layer asked for.
    """

    encoder: LoadedEncoder
    data: ProbeData
    settings: ProbeSettings
    rows: tuple[ProbeRow, ...]
    attention: tuple[AttentionExample, ...]

    @property
    def several_layers(self) -> bool:
        """Whether more than one layer was probed."""
        return len({row.layer for row in self.rows if row.layer is not None}) > 1

    def name(self, row: ProbeRow) -> str:
        """The name of a row within this report."""
        return row.name(self.encoder.encoder.depth, self.several_layers)

    def result(self) -> dict[str, Any]:
        """JSON: measure, model, protocol, scores, and what was found out about encoder and probes."""
        return {
            "measure": "probe",
            "model": self.encoder.name,
            "protocol": {**self.data.facts, **self.settings.protocol(self.rows)},
            "scores": {self.name(row): row.score() for row in self.rows},
            "encoder": {**self.encoder.facts, "digest": self.encoder.digest},
            "chosen_layers": {probe: row.layer for probe, row in best_rows(self.rows).items()},
            "notes": list(self.data.notes),
            "details": {self.name(row): row.details for row in self.rows},
        }


def run_probes(
    encoder: LoadedEncoder,
    data: ProbeData,
    probes: Sequence[str] = ("knn", "linear", "efficient"),
    settings: ProbeSettings = ProbeSettings(),
) -> ProbeReport:
    """Every probe on every layer asked for, with every seed; features are computed once and kept.

    Args:
        encoder: of `mimgen.probing.open_encoder`.
        data: of `mimgen.probing.probe_data`, at the encoder's size.
        probes: names of `PROBES`.
        settings: how.

    Raises:
        UserError: an unknown probe, or what a probe raises.
    """
    work = _Work(encoder, data, settings)
    rows = tuple(row for name in check_probes(probes) for row in work.rows(name))
    return ProbeReport(encoder, data, settings, rows, tuple(work.attention.values()))


def layers_of(layers: str | Sequence[int], depth: int) -> tuple[int, ...]:
    """ "last", "all" or numbers, also as text such as "0,5,-1", as layers; `depth` means the output.

    Raises:
        UserError: another word.
    """
    if layers in ("last", ""):
        return (depth,)
    if layers == "all":
        return tuple(range(depth + 1))
    numbers = [part for part in layers.split(",") if part.strip()] if isinstance(layers, str) else layers
    try:
        return tuple(int(number) for number in numbers)
    except ValueError:
        raise UserError(f"--layers {layers!r}: give last, all, or numbers such as 0,5,-1 (0 to {depth})") from None


@dataclass
class _Work:
    """What the probes of one run share; features are fetched when a probe first wants them."""

    loaded: LoadedEncoder
    data: ProbeData
    settings: ProbeSettings
    attention: dict[str, AttentionExample] = field(default_factory=dict)

    def rows(self, name: str) -> Iterator[ProbeRow]:
        reads = PROBES[name].reads
        if reads == "images":
            yield self._fine_tuned()
        elif reads == "patches":
            yield from self._segmented(name)
        else:
            yield from self._probed(name, "tokens" if reads == "tokens" else self.settings.pooling)

    def _features(self, pooling: Pooling) -> list[Any]:
        """Cached features of train and test."""
        layers = layers_of(self.settings.layers, self.loaded.encoder.depth)
        return [
            features_of(
                self.loaded, part, data=self.data.facts["data"], split=self.data.facts[split], layers=layers,
                pooling=pooling, cache=self.settings.cache, batch_size=self.settings.batch_size,
                workers=self.settings.workers,
            )
            for part, split in ((self.data.train, "train"), (self.data.test, "test"))
        ]  # fmt: skip

    def _probed(self, name: str, pooling: Pooling) -> Iterator[ProbeRow]:
        train, test = self._features(pooling)
        for row, fitted in probe_levels(
            name, train.levels, self.data.train_y, test.levels, self.data.test_y,
            seeds=self.settings.seeds, few_shot=self.settings.few_shot, grid=train.grid,
        ):  # fmt: skip
            if fitted.head is not None and row.few is None:
                assert row.layer is not None
                # overwritten layer by layer, so that the last one stays
                self.attention[name] = AttentionExample(name, fitted.head, test.levels[row.layer][:_SHOWN], train.grid)
            yield row

    def _fine_tuned(self) -> ProbeRow:
        encoder, train, test = self.loaded.encoder, self.data.train, self.data.test
        if not isinstance(encoder, torch.nn.Module):
            raise UserError(f"{self.loaded.name} has no weights to fine-tune; leave fine-tune out of the probes")
        results = [
            PROBES["fine-tune"].fit(
                encoder, train.images, self.data.train_y, test.images, self.data.test_y, seed=seed,
                settings=self.settings.fine_tune,
            )
            for seed in self.settings.seeds
        ]  # fmt: skip
        return ProbeRow.of("fine-tune", None, None, results)

    def _segmented(self, name: str) -> Iterator[ProbeRow]:
        folder, parts, spec = self.settings.masks, (self.data.train, self.data.test), self.data.facts["data"]
        # masks first: features take longer, and without masks they are for nothing
        masks = [own_masks(part, spec) if folder is None else load_masks(folder, part) for part in parts]
        train, test = self._features("tokens")
        # the linear one is solved in closed form: a seed would change nothing
        seeds: list[dict[str, int]] = [{}] if name == "segment-linear" else [{"seed": s} for s in self.settings.seeds]
        for layer, x in train.levels.items():
            found = [
                PROBES[name].fit(x, masks[0], test.levels[layer], masks[1], grid=train.grid, **seed) for seed in seeds
            ]
            values = tuple(one.miou for one in found)
            yield ProbeRow(
                probe=name, layer=layer, few=None, values=values, balanced_accuracy=None, majority=found[0].majority,
                validation=None, correct=None, details=found[0].as_dict(),
            )  # fmt: skip
