"""The probes by their names: what each reads, and one call that fits any of them on frozen features."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mimgen.errors import UserError, choose
from mimgen.layers.pooling import POOLING_NAMES, ProbeHead
from mimgen.probing.attentive import attentive_probe
from mimgen.probing.finetune import fine_tune
from mimgen.probing.knn import knn_probe
from mimgen.probing.linear import linear_probe
from mimgen.probing.logistic import logistic_probe
from mimgen.probing.mae_protocol import mae_probe
from mimgen.probing.probe_split import ProbeResult
from mimgen.probing.segmentation import knn_segmentation, linear_segmentation
from mimgen.probing.sweep import sweep_probe

__all__ = ["PROBES", "FittedProbe", "Probe", "check_probes", "fit_probe", "probes_that_read"]

Reads = Literal["vectors", "tokens", "images", "patches"]
# the middle of the values that the logistic probe tries where train is large enough to choose
_FEW_SHOT_LAMBDA = (1e-2,)


@dataclass(frozen=True)
class Probe:
    """A probe.

    Attributes:
        reads: "vectors", one [F] per image; "tokens", all [N, D] of an image; "patches", the tokens, to label pixels;
            "images", because the whole encoder is trained.
        fit: its function in `mimgen.probing`.
    """

    reads: Reads
    fit: Callable[..., Any]


PROBES: dict[str, Probe] = {
    "knn": Probe("vectors", knn_probe),
    "linear": Probe("vectors", linear_probe),
    "logistic": Probe("vectors", logistic_probe),
    "sweep": Probe("vectors", sweep_probe),
    "mae": Probe("vectors", mae_probe),
    **{name: Probe("tokens", attentive_probe) for name in POOLING_NAMES},
    "fine-tune": Probe("images", fine_tune),
    "segment-knn": Probe("patches", knn_segmentation),
    "segment-linear": Probe("patches", linear_segmentation),
}


@dataclass(frozen=True)
class FittedProbe:
    """One probe, fitted once.

    Attributes:
        result: what it scored.
        head: the trained head of an attentive probe, which tells where it looks.
    """

    result: ProbeResult
    head: ProbeHead | None = None


def probes_that_read(*kinds: Reads) -> tuple[str, ...]:
    """Names of the probes that read one of `kinds`."""
    return tuple(name for name, probe in PROBES.items() if probe.reads in kinds)


def check_probes(names: Iterable[str]) -> tuple[str, ...]:
    """The names without repetitions.

    Raises:
        UserError: a name that is no probe's, or none.
    """
    found = tuple(dict.fromkeys(names))
    if not found:
        raise UserError(f"no probe is named; choose from {', '.join(PROBES)}")
    return tuple(choose(name, PROBES, "probe") for name in found)


def fit_probe(
    name: str,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    seed: int,
    grid: tuple[int, int] | None = None,
    few: bool = False,
) -> FittedProbe:
    """Fit one probe on frozen features and test it.

    Args:
        name: of a probe that reads vectors or tokens.
        train: features [n, F], for tokens [n, N, D], and labels [n].
        test: the same of the test images.
        seed: of the probe.
        grid: rows and columns of the patch tokens.
        few: train is a handful of images, too few to choose settings on.

    Raises:
        UserError: no such probe, or what the probe raises.
    """
    probe = PROBES[choose(name, probes_that_read("vectors", "tokens"), "probe of frozen features")]
    if probe.reads == "vectors":
        fixed = {"regularisations": _FEW_SHOT_LAMBDA} if few and name == "logistic" else {}
        return FittedProbe(probe.fit(*train, *test, seed=seed, **fixed))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = probe.fit(*train, *test, seed=seed, pooling=name, grid=grid, device=device)
    return FittedProbe(found.result, found.head)
