"""What turns images into the features that generation metrics compare.

Values from different extractors, layers or resizings cannot be compared, so each extractor states all
three in its key. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.evaluation.descriptor import DESCRIPTOR, describe

INCEPTION = "inception-v3-compat"
LAB_HOG = "lab-hog"
PROJECTED = 64
INCEPTION_LAYERS = ("64", "192", "768", "2048")
_INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
_LOGITS = "logits_unbiased"


@dataclass(frozen=True)
class Extracted:
    """What an extractor says about a batch.

    Attributes:
        features: [B, F].
        logits: [B, classes] of a classifier, which the inception score needs; None where there is none.
    """

    features: Tensor
    logits: Tensor | None = None


@dataclass(frozen=True)
class Extractor:
    """Images to features.

    Attributes:
        name: for results.
        layer: which of its features.
        weights: hash of the weights; None where there are none.
        resize: what is done to images of another size.
        run: [B, 3, H, W] uint8 -> Extracted.
        file: where the weights lie; for the reader, not part of the identity.
        logits: whether `run` returns class logits.
    """

    name: str
    layer: str
    weights: str | None
    resize: str
    run: Callable[[Tensor], Extracted]
    file: str | None = None
    logits: bool = False

    @property
    def key(self) -> dict[str, str]:
        """All that must agree for two sets of features to be comparable."""
        return {"extractor": self.name, "layer": self.layer, "weights": self.weights or "none", "resize": self.resize}

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Extracted:
        """[B, 3, H, W] uint8 to features on the CPU.

        Raises:
            UserError: another type or shape.
        """
        if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] != 3:
            raise UserError(f"features want uint8 images [n, 3, H, W], got {images.dtype} {list(images.shape)}")
        return self.run(images)


def project(described: Tensor) -> Tensor:
    """Random projection of descriptors to 64 dimensions, fixed for ever by seed 0.

    A covariance has full rank only from more images than dimensions; 2532 dimensions would ask
    for thousands. Gaussian projection keeps distances in expectation. Scaled by 10 so that FIDs
    have the magnitude people are used to.

    Args:
        described: [n, F].

    Returns:
        [n, 64] float64.
    """
    rng = torch.randn(
        described.shape[1], PROJECTED, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    return 10 * described.double() @ rng / PROJECTED**0.5


def lab_hog() -> Extractor:
    """The model-free extractor: the fixed descriptor, projected to 64 dimensions."""

    def run(images: Tensor) -> Extracted:
        return Extracted(project(describe(images.float() / 255)))

    resize = "antialiased bilinear to 64 px (none at 64)"
    return Extractor(LAB_HOG, str(PROJECTED), DESCRIPTOR, resize, run)


def inception(weights: str | Path | None = None, layer: str | None = None, *, logits: bool = False) -> Extractor:
    """torch-fidelity's Inception-v3, the usual extractor of FID, on the GPU where there is one.

    Args:
        weights: file in torch-fidelity's form; otherwise it is looked for in torch's hub folder.
        layer: "64", "192", "768" or "2048" (default).
        logits: also return the 1008 unbiased class logits.

    Raises:
        UserError: unknown layer, or weights that are not on disk, cannot be read or do not fit.
    """
    chosen = layer or INCEPTION_LAYERS[-1]
    if chosen not in INCEPTION_LAYERS:
        raise UserError(f"{INCEPTION} has no layer {chosen!r}; choose from {', '.join(INCEPTION_LAYERS)}")
    file = weights_file(weights)

    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    wanted = [chosen, _LOGITS] if logits else [chosen]
    try:
        network = FeatureExtractorInceptionV3(INCEPTION, wanted, feature_extractor_weights_path=str(file))
    except RuntimeError as error:
        raise UserError(f"{file} does not fit Inception-v3: {str(error).splitlines()[0]}") from error
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device).eval()

    def run(images: Tensor) -> Extracted:
        found = [tensor.cpu() for tensor in network(images.to(device))]
        return Extracted(found[0], found[1] if logits else None)

    resize = "torch-fidelity: bilinear as TensorFlow 1 to 299 px, no antialiasing"
    return Extractor(INCEPTION, chosen, file_digest([file]), resize, run, str(file), logits)


def transformers_folder(folder: str | Path, size: int | None = None) -> Extractor:
    """DINOv2, CLIP's vision tower, or a saved `VitEncoder`, from a folder on disk.

    Args:
        folder: as of `mimgen.encoders.open_teacher`.
        size: side in pixels that images are brought to; see there.

    Raises:
        UserError: no such folder, another kind of model, or files that do not load.
    """
    from mimgen.encoders import open_teacher

    teacher = open_teacher(folder, size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teacher.to(device)

    def run(images: Tensor) -> Extracted:
        return Extracted(teacher(images.to(device).float() / 255).cpu())

    side = teacher.size
    resize = "none" if side is None else f"antialiased bicubic to {side} px (none at {side})"
    weights = file_digest(sorted(Path(folder).glob("*.safetensors")) or [Path(folder) / "config.json"])
    kind = type(teacher.encoder).__name__
    return Extractor(f"hf:{kind}", "pooled", weights, resize, run, str(folder))


def from_encoder(encoder: Any, name: str, digest: str | None, pixels: int | None = None) -> Extractor:
    """Any encoder of ours: its class token, or the mean of its patches where it has none.

    Args:
        encoder: images [B, 3, H, W] in [0, 1] -> `Tokens`; put into evaluation mode.
        name: for results.
        digest: of its weights; None where it has none.
        pixels: side that images are brought to; by default they are taken as they come.
    """
    from mimgen.evaluation.descriptor import to_side

    device = torch.device("cpu")
    if isinstance(encoder, torch.nn.Module):
        encoder.eval()
        device = next((parameter.device for parameter in encoder.parameters()), device)

    def run(byte_images: Tensor) -> Extracted:
        images = byte_images.to(device).float() / 255
        tokens = encoder(images if pixels is None else to_side(images, pixels).clamp(0, 1))
        return Extracted((tokens.prefix[:, 0] if tokens.prefix.shape[1] else tokens.patches.mean(1)).float().cpu())

    resize = "none" if pixels is None else f"antialiased bilinear to {pixels} px (none at {pixels})"
    return Extractor(name, "class token, else mean patch", digest, resize, run)


def weights_file(weights: str | Path | None) -> Path:
    """The Inception file to load, checked: torch-fidelity would download a missing one and unpickle any.

    Raises:
        UserError: no such file, or one that holds more than tensors.
    """
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


def file_digest(files: list[Path]) -> str:
    """First 16 digits of the SHA-256 of the files' contents, in their order."""
    running = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                running.update(block)
    return running.hexdigest()[:16]
