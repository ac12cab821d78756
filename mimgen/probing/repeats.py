"""Probes repeated: over seeds, over layers, and with a few images per class."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.probing.intervals import Interval, over_seeds
from mimgen.probing.probe_split import ProbeResult

__all__ = ["FewShot", "Layerwise", "Probe", "few_shot", "layerwise", "repeated", "sample_shots"]


class Probe(Protocol):
    """A probe: features and labels of train and test in, a result out; bind further settings beforehand."""

    def __call__(
        self, train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, /, *, seed: int
    ) -> ProbeResult:
        """[n, F], [n], [m, F], [m] -> accuracies."""


@dataclass(frozen=True)
class FewShot:
    """Accuracy with a few images per class.

    Attributes:
        shots: images per class.
        accuracy: over the random numbers of images.
        results: one a sample.
    """

    shots: int
    accuracy: Interval
    results: tuple[ProbeResult, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "shots": self.shots, "accuracy": self.accuracy.as_dict(),
            "results": [result.as_dict() for result in self.results],
        }  # fmt: skip


@dataclass(frozen=True)
class Layerwise:
    """The same probe on every layer.

    Attributes:
        results: for each layer one result per seed.
        best: the layer with the best mean validation accuracy, which test had no say in; None for a probe
            that validates nothing.
    """

    results: Mapping[int, tuple[ProbeResult, ...]]
    best: int | None

    def accuracy(self, layer: int) -> Interval:
        """Test accuracy of a layer over the seeds."""
        return over_seeds([result.accuracy for result in self.results[layer]])

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        layers = {
            layer: {
                "accuracy": self.accuracy(layer).as_dict(),
                "results": [result.as_dict() for result in results],
            }
            for layer, results in self.results.items()
        }
        return {"layers": layers, "best": self.best}


def repeated(
    probe: Probe, train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, *, seeds: Sequence[int]
) -> tuple[ProbeResult, ...]:
    """One result per seed; arguments as of the probe.

    Raises:
        UserError: no seed, the same seed twice, or what the probe raises.
    """
    _check_seeds(seeds)
    return tuple(probe(train_x, train_y, test_x, test_y, seed=seed) for seed in seeds)


def layerwise(
    probe: Probe,
    train: Mapping[int, Tensor],
    train_y: Tensor,
    test: Mapping[int, Tensor],
    test_y: Tensor,
    *,
    seeds: Sequence[int] = (0,),
) -> Layerwise:
    """Probe every layer of an encoder.

    Args:
        probe: any probe.
        train: for each layer [n, F] features (`Features.levels`).
        train_y: [n] labels.
        test: for the same layers [m, F].
        test_y: [m].
        seeds: one run each.

    Raises:
        UserError: train and test hold different layers, or what the probe raises.
    """
    if not train or set(train) != set(test):
        raise UserError(f"layer-wise probe: train has the layers {sorted(train)}, test {sorted(test)}")
    results = {
        layer: repeated(probe, train[layer], train_y, test[layer], test_y, seeds=seeds) for layer in train
    }
    validations = {
        layer: [result.validation for result in found if result.validation is not None]
        for layer, found in results.items()
    }
    means = {layer: statistics.fmean(values) for layer, values in validations.items() if values}
    return Layerwise(results, max(means, key=lambda layer: means[layer]) if means else None)


def few_shot(
    probe: Probe,
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    *,
    shots: Sequence[int] = (1, 2, 5, 10),
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
) -> dict[int, FewShot]:
    """Probe with few training images, several times, since which ones they are decides much.

    Args:
        probe: one that works on a handful of images: `knn_probe`, or `logistic_probe` with a single
            regularisation. Those that hold out a part of train want five images at least.
        train_x: [n, F] features to sample from.
        train_y: [n] labels.
        test_x: [m, F].
        test_y: [m].
        shots: images per class.
        seeds: one sample each.

    Raises:
        UserError: no seed, fewer than 1 image a class, missing labels, or what the probe raises.
    """
    _check_seeds(seeds)
    found = {}
    for count in shots:
        runs = []
        for seed in seeds:
            rows = sample_shots(train_y, count, seed)
            runs.append(probe(train_x[rows], train_y[rows], test_x, test_y, seed=seed))
        found[count] = FewShot(count, over_seeds([result.accuracy for result in runs]), tuple(runs))
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


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds or len(set(seeds)) != len(seeds):
        raise UserError(f"probe: give seeds that differ, at least one, got {list(seeds)}")
