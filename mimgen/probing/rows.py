"""One probe on every layer, with every seed and with few images per class: the rows of a result."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.probing.intervals import bootstrap, over_seeds
from mimgen.probing.probe_split import ProbeResult
from mimgen.probing.probes import FittedProbe, fit_probe

__all__ = ["ProbeRow", "best_rows", "check_seeds", "probe_levels", "sample_shots"]


@dataclass(frozen=True)
class ProbeRow:
    """The outcome of one probe of one layer over all seeds.

    Attributes:
        probe: its name.
        layer: counted from 0; the depth means the output, None the whole encoder.
        few: images per class; None for all of train.
        values: accuracy (segmentation: mean intersection over union) for each seed.
        balanced_accuracy: mean accuracy over classes, averaged over seeds; None for segmentation.
        majority: of the most frequent class.
        validation: accuracy on held-out images of train, averaged over seeds; None where there is none.
        correct: [seeds, m] 1 where a test image is right; None for segmentation.
        details: of the first seed.
    """

    probe: str
    layer: int | None
    few: int | None
    values: tuple[float, ...]
    balanced_accuracy: float | None
    majority: float
    validation: float | None
    correct: Tensor | None
    details: dict[str, Any]

    @classmethod
    def of(cls, probe: str, layer: int | None, few: int | None, results: Sequence[ProbeResult]) -> ProbeRow:
        """The row of results with several seeds."""
        validations = [one.validation for one in results if one.validation is not None]
        return cls(
            probe=probe,
            layer=layer,
            few=few,
            values=tuple(one.accuracy for one in results),
            balanced_accuracy=sum(one.balanced_accuracy for one in results) / len(results),
            majority=results[0].majority,
            validation=sum(validations) / len(validations) if validations else None,
            correct=torch.stack([one.correct for one in results if one.correct is not None]),
            details=results[0].as_dict(),
        )

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return sum(self.values) / len(self.values)

    def name(self, depth: int, several: bool) -> str:
        """ "knn", with the layer where there are several, and the number of images per class."""
        layer = "output" if self.layer == depth else f"layer {self.layer}"
        where = layer if several and self.layer is not None else ""
        return ", ".join(filter(None, (self.probe, where, f"{self.few} a class" if self.few else "")))

    def score(self) -> dict[str, Any]:
        """JSON: mean, low, high (95 %), over (what varied), values and, of images, the bootstrap interval."""
        found = over_seeds(self.values).as_dict() if len(self.values) > 1 else {"mean": self.values[0]}
        if self.correct is None:
            return {**found, "values": list(self.values)}
        resampled = bootstrap(self.correct, seed=0)
        if len(self.values) == 1:
            found = resampled.as_dict()
        return {**found, "values": list(self.values), "over_test_images": [resampled.low, resampled.high],
                "balanced_accuracy": self.balanced_accuracy, "majority": self.majority}  # fmt: skip


def probe_levels(
    name: str,
    train: Mapping[int, Tensor],
    train_y: Tensor,
    test: Mapping[int, Tensor],
    test_y: Tensor,
    *,
    seeds: Sequence[int] = (0,),
    few_shot: Sequence[int] = (),
    grid: tuple[int, int] | None = None,
) -> Iterator[tuple[ProbeRow, FittedProbe]]:
    """Fit a probe on every layer of an encoder with every seed: on all of train, then on few images per class.

    Args:
        name: of a probe that reads vectors or tokens; see `mimgen.probing.PROBES`.
        train: for each layer features [n, F], or tokens [n, N, D] (`Features.levels`).
        train_y: [n] labels.
        test: for the same layers [m, F] or [m, N, D].
        test_y: [m].
        seeds: of the probe and of the sampled images; which ones they are decides much, so give several.
        few_shot: numbers of images per class. A probe that holds out a part of train wants five images at least.
        grid: rows and columns of the patch tokens.

    Yields:
        each row with the probe that was fitted with the first seed.

    Raises:
        UserError: no seed, a seed twice, layers that differ, or what the probe raises.
    """
    check_seeds(seeds)
    if not train or set(train) != set(test):
        raise UserError(f"probe {name}: train has the layers {sorted(train)}, test {sorted(test)}")
    for layer, x in train.items():
        for few in (None, *few_shot):
            fitted = []
            for seed in seeds:
                rows = slice(None) if few is None else sample_shots(train_y, few, seed)
                pair = (x[rows], train_y[rows])
                fitted.append(
                    fit_probe(name, pair, (test[layer], test_y), seed=seed, grid=grid, few=few is not None)
                )
            yield ProbeRow.of(name, layer, few, [one.result for one in fitted]), fitted[0]


def best_rows(rows: Sequence[ProbeRow]) -> dict[str, ProbeRow]:
    """The row of each probe on all of train: of several layers the best on held-out images of train, else the last.

    The test images have no say in it.
    """
    found: dict[str, ProbeRow] = {}
    for row in rows:
        before = found.get(row.probe)
        if row.few is None and (before is None or (row.validation or 0) >= (before.validation or 0)):
            found[row.probe] = row
    return found


def sample_shots(labels: Tensor, shots: int, seed: int) -> Tensor:
    """Positions of `shots` random images of every class, ascending.

    A class with fewer images gives all of them, with a warning. More shots with the same seed contain
    the fewer ones.

    Args:
        labels: [n] integers, none negative.
        shots: images per class, at least 1.
        seed: of the sample.
    """
    if shots < 1:
        raise UserError(f"few-shot probe: {shots} images per class; at least 1 is needed")
    if bool((labels < 0).any()):
        raise UserError(f"few-shot probe: {int((labels < 0).sum())} images have no label; leave them out")
    labels = labels.cpu()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    taken, short = [], 0
    for label in labels.unique():
        rows = order[labels[order] == label][:shots]
        short += len(rows) < shots
        taken.append(rows)
    if short:
        warnings.warn(
            f"few-shot probe: {short} of {len(taken)} classes have fewer than {shots} images and give all of theirs",
            stacklevel=2,
        )
    return torch.cat(taken).sort().values


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse no seed at all, and a seed given twice, which would count one measurement as two."""
    if not seeds or len(set(seeds)) != len(seeds):
        raise UserError(f"probe: give seeds that differ, at least one, got {list(seeds)}")
