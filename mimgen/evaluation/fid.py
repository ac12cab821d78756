"""Frechet inception distance through torch-fidelity, never with weights nobody asked for.

FID = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) over the features of two sets of pictures.
Values from different extractors, reference sets or resizings cannot be compared, so all three
are named in the result.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.evaluation.descriptor import DESCRIPTOR, check_pictures, describe

INCEPTION = "inception-v3-compat"
LAB_HOG = "lab-hog"
PROJECTED = 64
_INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
_LAYERS = {LAB_HOG: str(PROJECTED), INCEPTION: "2048"}
_RESIZE = {
    LAB_HOG: "antialiased bilinear to 64 px (none at 64)",
    INCEPTION: "torch-fidelity: bilinear as TensorFlow 1 to 299 px, no antialiasing",
}


def project(described: Tensor) -> Tensor:
    """Random projection of descriptors to 64 dimensions, fixed for ever by seed 0.

    A covariance has full rank only from more pictures than dimensions; 2532 dimensions would ask
    for thousands. Gaussian projection keeps distances in expectation. Scaled by 10 so that FIDs
    have the magnitude people are used to.

    Args:
        described: [n, F].

    Returns:
        [n, 64] float64.
    """
    draws = torch.randn(
        described.shape[1], PROJECTED, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    return 10 * described.double() @ draws / PROJECTED**0.5


def fid(
    samples: Tensor,
    references: Tensor,
    extractor: str = LAB_HOG,
    weights: str | Path | None = None,
    *,
    layer: str | None = None,
    batch_size: int = 64,
) -> dict[str, Any]:
    """Distance between two sets of pictures; 0 for a set and itself.

    Args:
        samples: [n, 3, S, S] in [0, 1]; rounded to 8 bits, as torch-fidelity reads nothing else.
        references: [m, 3, R, R] in [0, 1].
        extractor: "lab-hog" (model-free, 64 dimensions, needs no weights) or
            "inception-v3-compat" (the usual one).
        weights: Inception weights as a file of torch-fidelity; otherwise they are looked for in
            torch's hub folder. They are never downloaded.
        layer: Inception features "64", "192", "768" or "2048" (default 2048).
        batch_size: pictures at a time.

    Returns:
        JSON: fid, extractor, layer, dimensions, weights (file), tool, version, resize, n,
        references_n and whether n exceeds the dimensions (full_rank).

    Raises:
        UserError: unknown extractor, weights that are not on disk or cannot be read, fewer than
            two pictures.
    """
    if extractor not in _LAYERS:
        raise UserError(f"FID extractor {extractor!r} is unknown; choose from {', '.join(_LAYERS)}")
    for pictures, what in ((samples, "FID samples"), (references, "FID references")):
        check_pictures(pictures, what)
        if len(pictures) < 2:
            raise UserError(f"{what}: a covariance needs at least 2 pictures, got {len(pictures)}")
    file = _weights_file(extractor, weights)
    chosen = layer or _LAYERS[extractor]
    dimensions = int(chosen)
    smaller = min(len(samples), len(references))
    if smaller <= dimensions:
        warnings.warn(
            f"FID over {smaller} pictures with {dimensions} features: the covariance has no full rank "
            f"and the value is biased upwards; use more than {dimensions} pictures",
            stacklevel=2,
        )
    return {
        "fid": _distance(samples, references, extractor, chosen, file, batch_size),
        "extractor": extractor,
        "layer": chosen,
        "dimensions": dimensions,
        "descriptor": DESCRIPTOR if extractor == LAB_HOG else None,
        "weights": None if file is None else str(file),
        "tool": "torch-fidelity",
        "version": importlib.metadata.version("torch-fidelity"),
        "resize": _RESIZE[extractor],
        "n": len(samples),
        "references_n": len(references),
        "size": [samples.shape[-1], references.shape[-1]],
        "full_rank": smaller > dimensions,
    }


def _distance(
    samples: Tensor, references: Tensor, extractor: str, layer: str, file: Path | None, batch_size: int
) -> float:
    import torch_fidelity

    _register()
    metrics = torch_fidelity.calculate_metrics(
        input1=_as_dataset(samples),
        input2=_as_dataset(references),
        fid=True,
        feature_extractor=extractor,
        feature_layer_fid=layer,
        feature_extractor_weights_path=None if file is None else str(file),
        cuda=torch.cuda.is_available() and extractor == INCEPTION,
        batch_size=batch_size,
        save_cpu_ram=True,  # no worker processes: the pictures are in memory already
        cache=False,
        verbose=False,
    )
    return float(metrics["frechet_inception_distance"])


@cache
def _register() -> None:
    """Make "lab-hog" known to torch-fidelity, once a process."""
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.registry import register_feature_extractor

    class LabHog(FeatureExtractorBase):
        """uint8 pictures [B, 3, H, W] -> projected descriptors [B, 64]."""

        def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return (str(PROJECTED),)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return str(PROJECTED)

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, images: Tensor) -> tuple[Tensor]:
            return (project(describe(images.float() / 255)),)

    register_feature_extractor(LAB_HOG, LabHog)


def _as_dataset(pictures: Tensor) -> Any:
    from torch.utils.data import Dataset

    class Pictures(Dataset[Tensor]):
        """The form torch-fidelity reads: one uint8 [3, H, W] a sample."""

        def __init__(self, stored: Tensor) -> None:
            self.stored = stored

        def __len__(self) -> int:
            return len(self.stored)

        def __getitem__(self, index: int) -> Tensor:
            return self.stored[index]

    return Pictures((pictures.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8))


def _weights_file(extractor: str, weights: str | Path | None) -> Path | None:
    """The file to load, checked: torch-fidelity would download a missing one and unpickle any."""
    if extractor == LAB_HOG:
        if weights is not None:
            raise UserError(f"FID extractor {LAB_HOG!r} has no weights; {weights} needs {INCEPTION!r}")
        return None
    file = Path(weights or Path(torch.hub.get_dir()) / "checkpoints" / _INCEPTION_FILE)
    if not file.is_file():
        raise UserError(
            f"FID with {INCEPTION!r}: no weights at {file}. Nothing is downloaded: fetch "
            f"{_INCEPTION_FILE} from the releases of torch-fidelity and pass its path as "
            f"`weights`, or choose extractor={LAB_HOG!r}"
        )
    try:
        # torch-fidelity unpickles freely; a file that passes here holds tensors only
        torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"FID with {INCEPTION!r}: {file} is not a file of tensors ({type(error).__name__})"
        ) from error
    return file
