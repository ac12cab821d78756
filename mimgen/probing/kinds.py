"""The probes of `mimgen probe` by their names, each as one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mimgen.cli.options import choose
from mimgen.errors import UserError
from mimgen.recipes.compare.rows import numbers

if TYPE_CHECKING:
    from torch import Tensor

    from mimgen.layers.pooling import ProbeHead
    from mimgen.probing.probe_split import ProbeResult

__all__ = ["IMAGES", "PATCHES", "VECTORS", "Probed", "attentive", "check_probes", "counts", "run", "segment"]

VECTORS = ("knn", "linear", "logistic", "sweep", "mae")  # read one vector per image
IMAGES = ("fine-tune",)  # train the whole encoder
PATCHES = ("segment-knn", "segment-linear")  # label pixels


def attentive() -> tuple[str, ...]:
    """Names of the probes that read all tokens of an image."""
    from mimgen.layers.pooling import POOLING_NAMES

    return POOLING_NAMES


@dataclass(frozen=True)
class Probed:
    """One probe, fitted once.

    Attributes:
        result: what it scored.
        head: the trained head of an attentive probe, which tells where it looks.
    """

    result: ProbeResult
    head: ProbeHead | None = None


def check_probes(text: str) -> tuple[str, ...]:
    """ "knn,linear" as names.

    Raises:
        UserError: an unknown name, or none.
    """
    known = (*VECTORS, *attentive(), *IMAGES, *PATCHES)
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise UserError(f"--probes is empty; choose from {', '.join(known)}")
    return tuple(choose(name, known, "probe") for name in names)


def run(
    name: str,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    seed: int,
    grid: tuple[int, int] | None = None,
    few: bool = False,
) -> Probed:
    """Fit one probe on frozen features and test it.

    Args:
        name: of `VECTORS` or `attentive()`.
        train: features [n, F], for attentive probes [n, N, D], and labels [n].
        test: the same of the test images.
        seed: of the probe.
        grid: rows and columns of the patch tokens.
        few: train is a handful of images, too few to choose settings on.
    """
    from mimgen.probing.knn import knn_probe
    from mimgen.probing.linear import linear_probe
    from mimgen.probing.logistic import logistic_probe

    if name in VECTORS:
        if name == "knn":
            return Probed(knn_probe(*train, *test, seed=seed))
        if name == "linear":
            return Probed(linear_probe(*train, *test, seed=seed))
        if name == "logistic":
            # the middle of the values tried otherwise
            chosen: dict[str, Any] = {"regularisations": (1e-2,)} if few else {}
            return Probed(logistic_probe(*train, *test, seed=seed, **chosen))
        return Probed(_trained(name, train, test, seed))
    import torch

    from mimgen.probing.attentive import attentive_probe

    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = attentive_probe(*train, *test, seed=seed, pooling=name, grid=grid, device=device)
    return Probed(found.result, found.head)


def _trained(name: str, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], seed: int) -> ProbeResult:
    if name == "mae":
        from mimgen.probing.mae_protocol import mae_probe

        return mae_probe(*train, *test, seed=seed)
    from mimgen.probing.sweep import sweep_probe

    return sweep_probe(*train, *test, seed=seed)


def segment(
    name: str, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], *, grid: tuple[int, int], seed: int
) -> Any:
    """Label the pixels of the test images from patch tokens [n, N, D] and masks [n, H, W]."""
    from mimgen.probing.segmentation import knn_segmentation, linear_segmentation

    if name == "segment-knn":
        return knn_segmentation(*train, *test, grid=grid, seed=seed)
    return linear_segmentation(*train, *test, grid=grid)


def counts(text: str, flag: str) -> Sequence[int]:
    """ "1,5,10" as positive numbers; "" as none."""
    found = numbers(text, flag) if text.strip() else []
    if 0 in found:
        raise UserError(f"--{flag} {text}: give at least 1 image a class")
    return found
