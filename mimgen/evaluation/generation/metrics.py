"""FID, KID, IS and PRC of two sets of features, computed by torch-fidelity's own functions."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mimgen.errors import UserError
from mimgen.evaluation.generation.features import FeatureSet, check_same_features

METRICS = ("fid", "kid", "is", "prc")
_BLOCK = 4096  # rows of the distance matrix that PRC holds at a time


@dataclass(frozen=True)
class MetricSettings:
    """Numbers of the metrics that change their values; the defaults are torch-fidelity's.

    Attributes:
        kid_subsets: random subsets over which KID is averaged.
        kid_subset_size: images in each; fewer where a set is smaller.
        is_splits: parts over which the inception score is averaged.
        prc_neighborhood: k of the k-nearest-neighbour balls of precision and recall.
        seed: determines KID's subsets and the order in which IS splits.
    """

    kid_subsets: int = 100
    kid_subset_size: int = 1000
    is_splits: int = 10
    prc_neighborhood: int = 3
    seed: int = 2020


@dataclass(frozen=True)
class GenerationScores:
    """Outcome of `generation_scores`.

    Attributes:
        scores: named numbers.
        protocol: all that must agree for two results to be comparable.
        warnings: what a reader must know about the numbers.
    """

    scores: dict[str, float]
    protocol: dict[str, Any]
    warnings: tuple[str, ...]


def generation_scores(
    samples: FeatureSet,
    references: FeatureSet | None,
    metrics: Sequence[str] = METRICS,
    settings: MetricSettings | None = None,
) -> GenerationScores:
    """Compare generated with true images.

    FID (Heusel et al. 2017) |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), at least 0, lower is better;
    KID (Binkowski et al. 2018) the unbiased squared MMD with kernel (x.y / F + 1)^3, may be just
    below 0; IS (Salimans et al. 2016) exp E KL(p(c | x), p(c)), at least 1, of the samples alone;
    precision and recall (Kynkaanniemi et al. 2019), in [0, 1].

    Args:
        samples: the generated images; KID and PRC need kept features, IS kept logits.
        references: the true ones; None for IS alone.
        metrics: some of "fid", "kid", "is", "prc".
        settings: see MetricSettings.

    Raises:
        UserError: unknown or missing metrics, features of different kinds, what a metric needs was not
            kept, or too few images.
    """
    settings_used = settings or MetricSettings()
    _check_names(metrics)
    scores: dict[str, float] = {}
    notes: list[str] = []
    protocol = {"metrics": list(metrics), **samples.key, "n": samples.count, **_tool()}
    if references is not None:
        check_same_features(samples, references)
        about = {name: references.source.get(name) for name in ("name", "fingerprint", "transform", "size")}
        protocol |= {"reference": about, "references_n": references.count}
    if "is" in metrics:
        scores |= _inception_score(samples, settings_used)
        protocol |= {"is_splits": settings_used.is_splits}
    for metric in (name for name in metrics if name != "is"):
        if references is None:
            raise UserError(f"{metric} compares with true images: give a reference (--reference)")
        if metric == "fid":
            scores["fid"] = frechet_distance(samples, references)
            notes += rank_notes(samples.count, references.count, samples.moments.dimensions)
        elif metric == "kid":
            size = min(settings_used.kid_subset_size, samples.count, references.count)
            scores |= _kernel_distance(samples, references, settings_used, size)
            protocol |= {"kid_subsets": settings_used.kid_subsets, "kid_subset_size": size}
            notes += _subset_notes(size, settings_used, samples.count, references.count)
        else:
            scores |= _precision_recall(samples, references, settings_used)
            protocol |= {"prc_neighborhood": settings_used.prc_neighborhood}
    if {"is", "kid"} & set(metrics):
        protocol["seed_of_metrics"] = settings_used.seed
    return GenerationScores(scores, protocol, tuple(notes))


def frechet_distance(samples: FeatureSet, references: FeatureSet) -> float:
    """FID of two sets from their statistics alone.

    Raises:
        UserError: a set of fewer than two images.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    first, second = (
        {"mu": found.moments.mean.numpy(), "sigma": found.moments.covariance.numpy()}
        for found in (samples, references)
    )
    return float(fid_statistics_to_metric(first, second, False)[KEY_METRIC_FID])


def rank_notes(samples: int, references: int, dimensions: int) -> list[str]:
    """A warning where a covariance has no full rank, else nothing."""
    smaller = min(samples, references)
    if smaller > dimensions:
        return []
    return [
        f"FID over {smaller} images with {dimensions} features: the covariance has no full rank "
        f"and the value is biased upwards; use more than {dimensions} images"
    ]


def _kernel_distance(
    samples: FeatureSet, references: FeatureSet, settings_used: MetricSettings, size: int
) -> dict[str, float]:
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    if size < 2:
        raise UserError(f"KID compares subsets of at least 2 images, got {size}; give more images")
    found = kid_features_to_metric(
        _rows(samples, "kid"), _rows(references, "kid"), kid_subsets=settings_used.kid_subsets, kid_subset_size=size,
        rng_seed=settings_used.seed, verbose=False,
    )  # fmt: skip
    return {"kid": found[KEY_METRIC_KID_MEAN], "kid_std": found[KEY_METRIC_KID_STD]}


def _inception_score(samples: FeatureSet, settings_used: MetricSettings) -> dict[str, float]:
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    if samples.logits is None:
        raise UserError(
            f"the inception score needs class logits, which {samples.key['extractor']!r} did not give; "
            "use extractor inception-v3-compat, or leave `is` out of the metrics"
        )
    if samples.count < settings_used.is_splits:
        raise UserError(
            f"the inception score over {settings_used.is_splits} splits needs as many images, got {samples.count}; "
            "give more images or fewer splits (--is-splits)"
        )
    found = isc_features_to_metric(samples.logits, settings_used.is_splits, True, settings_used.seed)
    return {"is": found[KEY_METRIC_ISC_MEAN], "is_std": found[KEY_METRIC_ISC_STD]}


def _precision_recall(samples: FeatureSet, references: FeatureSet, settings_used: MetricSettings) -> dict[str, float]:
    from torch_fidelity.metric_prc import prc_features_to_metric

    smaller = min(samples.count, references.count)
    if smaller <= settings_used.prc_neighborhood:
        raise UserError(
            f"precision and recall with {settings_used.prc_neighborhood} neighbours need more than so many images, "
            f"got {smaller}; give more images"
        )
    return dict(
        prc_features_to_metric(
            _rows(samples, "prc"), _rows(references, "prc"), prc_neighborhood=settings_used.prc_neighborhood,
            prc_batch_size=_BLOCK, save_cpu_ram=True, verbose=False,
        )
    )  # fmt: skip


def _rows(found: FeatureSet, metric: str) -> Tensor:
    if found.features is None:
        raise UserError(
            f"{metric} needs the features of every image, and {found.source.get('name')} comes as statistics "
            f"alone; save the reference again with {metric} among the metrics, or give the images"
        )
    return found.features


def _subset_notes(size: int, settings_used: MetricSettings, samples: int, references: int) -> list[str]:
    notes = []
    if size < settings_used.kid_subset_size:
        notes.append(
            f"KID over subsets of {size} images instead of {settings_used.kid_subset_size}, because there are no more; "
            "values at other sizes are less or more certain"
        )
    if size == samples == references:
        notes.append("KID: every subset is the whole set, so kid_std says nothing about its uncertainty")
    return notes


def _check_names(metrics: Sequence[str]) -> None:
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise UserError(f"metrics {', '.join(unknown) or 'none'}: choose from {', '.join(METRICS)}")


def _tool() -> dict[str, str]:
    return {"tool": "torch-fidelity", "version": importlib.metadata.version("torch-fidelity")}
