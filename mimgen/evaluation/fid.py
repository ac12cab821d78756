"""Frechet inception distance of two sets of images in memory, never with weights nobody asked for.

FID = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) over the features of two sets of images.
Values from different extractors, reference sets or resizings cannot be compared, so all three
are named in the result. Images on disk, other metrics and saved references: `generation`.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from pathlib import Path
from typing import Any

from torch import Tensor

from mimgen.errors import UserError
from mimgen.evaluation.descriptor import DESCRIPTOR, check_images
from mimgen.evaluation.generation.extractors import (
    INCEPTION,
    LAB_HOG,
    PROJECTED,
    Extractor,
    inception,
    lab_hog,
    project,
)
from mimgen.evaluation.generation.features import measure_images
from mimgen.evaluation.generation.images import from_tensor
from mimgen.evaluation.generation.metrics import frechet_distance, rank_notes

__all__ = ["INCEPTION", "LAB_HOG", "PROJECTED", "fid", "open_extractor", "project"]


def fid(
    samples: Tensor,
    references: Tensor,
    extractor: str = LAB_HOG,
    weights: str | Path | None = None,
    *,
    layer: str | None = None,
    batch_size: int = 64,
) -> dict[str, Any]:
    """Distance between two sets of images; 0 for a set and itself.

    Args:
        samples: [n, 3, S, S] in [0, 1]; rounded to 8 bits, as torch-fidelity reads nothing else.
        references: [m, 3, R, R] in [0, 1].
        extractor: "lab-hog" (model-free, 64 dimensions, needs no weights) or
            "inception-v3-compat" (the usual one).
        weights: Inception weights as a file of torch-fidelity; otherwise they are looked for in
            torch's hub folder. They are never downloaded.
        layer: Inception features "64", "192", "768" or "2048" (default 2048).
        batch_size: images at a time.

    Returns:
        JSON: fid, extractor, layer, dimensions, weights (file), tool, version, resize, n,
        references_n and whether n exceeds the dimensions (full_rank).

    Raises:
        UserError: unknown extractor, weights that are not on disk or cannot be read, fewer than
            two images.
    """
    for images, what in ((samples, "FID samples"), (references, "FID references")):
        check_images(images, what)
        if len(images) < 2:
            raise UserError(f"{what}: a covariance needs at least 2 images, got {len(images)}")
    chosen = open_extractor(extractor, weights, layer)
    ours, true = (
        measure_images(from_tensor(images, name), chosen, batch_size=batch_size)
        for images, name in ((samples, "FID samples"), (references, "FID references"))
    )
    dimensions = ours.moments.dimensions
    notes = rank_notes(len(samples), len(references), dimensions)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return {
        "fid": frechet_distance(ours, true),
        "extractor": extractor,
        "layer": chosen.layer,
        "dimensions": dimensions,
        "descriptor": DESCRIPTOR if extractor == LAB_HOG else None,
        "weights": chosen.file,
        "tool": "torch-fidelity",
        "version": importlib.metadata.version("torch-fidelity"),
        "resize": chosen.resize,
        "n": len(samples),
        "references_n": len(references),
        "size": [samples.shape[-1], references.shape[-1]],
        "full_rank": not notes,
    }


def open_extractor(
    name: str, weights: str | Path | None = None, layer: str | None = None, *, logits: bool = False
) -> Extractor:
    """An extractor by its name.

    Args:
        name: "lab-hog" or "inception-v3-compat".
        weights: Inception's; see `fid`.
        layer: Inception's; see `fid`.
        logits: Inception also gives its class logits.

    Raises:
        UserError: another name, or options that do not belong to it.
    """
    if name == INCEPTION:
        return inception(weights, layer, logits=logits)
    if name != LAB_HOG:
        raise UserError(f"FID extractor {name!r} is unknown; choose from {LAB_HOG}, {INCEPTION}")
    if weights is not None:
        raise UserError(f"FID extractor {LAB_HOG!r} has no weights; {weights} needs {INCEPTION!r}")
    if layer not in (None, str(PROJECTED)):
        raise UserError(f"FID extractor {LAB_HOG!r} has no layer {layer!r}; leave it out")
    return lab_hog()
