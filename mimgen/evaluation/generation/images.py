"""Where the images of a generation metric come from: 8-bit, in a fixed order, read as they are needed."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.evaluation.descriptor import check_images
from mimgen.ops.images import to_uint8

SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class ImageSource:
    """A set of images that is read piece by piece.

    Attributes:
        name: for results.
        fingerprint: hash of the contents; of generated images, of what makes them.
        count: number of images n.
        read: (start, stop) -> [stop - start, 3, H, W] uint8, for 0 <= start < stop <= n.
        transform: what was done to the files before they are measured.
    """

    name: str
    fingerprint: str
    count: int
    read: Callable[[int, int], Tensor]
    transform: str = "none"


def from_tensor(images: Tensor, name: str = "tensor") -> ImageSource:
    """Images in memory.

    Args:
        images: [n, 3, H, W] in [0, 1]; rounded to 8 bits.
        name: for results and errors.

    Raises:
        UserError: another shape, no images, or values that are not finite or out of range.
    """
    check_images(images, name)
    stored = to_uint8(images)
    fingerprint = _hash([repr(tuple(stored.shape)).encode(), stored.numpy().tobytes()])
    return ImageSource(name, fingerprint, len(stored), lambda start, stop: stored[start:stop])


def from_dataset(dataset: Any, indices: Sequence[int] | None = None, name: str | None = None) -> ImageSource:
    """Images of a data set, as it was opened.

    Args:
        dataset: a `mimgen.data.Dataset`.
        indices: which of its images, in which order; all by default.
        name: for results; by default the data set's.

    Raises:
        UserError: there is no image.
    """
    chosen = range(len(dataset)) if indices is None else tuple(indices)
    if not len(chosen):
        raise UserError(f"{dataset.name} holds no images to measure; check the split")

    def read(start: int, stop: int) -> Tensor:
        return torch.stack([dataset[int(index)].image for index in chosen[start:stop]])

    fingerprint_used = (
        dataset.fingerprint
        if indices is None
        else _hash([dataset.fingerprint.encode(), repr(chosen).encode()])
    )
    return ImageSource(name or dataset.name, fingerprint_used, len(chosen), read, "as the data set was opened")


def from_folder(folder: str | Path, pixels: int | None = None, limit: int | None = None) -> ImageSource:
    """Image files of a folder and the folders below it, read exactly as torch-fidelity reads them.

    Args:
        folder: holds .png, .jpg or .jpeg files, taken in the order of their real paths.
        pixels: shorter side resized to this and cropped in the centre; by default files stay as they are.
        limit: only so many files, spread over the list.

    Raises:
        UserError: no folder, no images, files that do not open, or of different sizes without `pixels`.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"no such folder of images: {root}")
    if pixels is not None and pixels < 1:
        raise UserError(f"images of {pixels} pixels: give the side, such as 64")
    files = sorted(os.path.realpath(file) for file in root.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{root} holds no images ({', '.join(SUFFIXES)})")
    if limit is not None:
        files = files[:: max(1, len(files) // limit)][:limit]
    _warn_about_kinds(files, root)
    fingerprint = _hash([str(pixels).encode(), *(Path(file).read_bytes() for file in files)])
    change = "none" if pixels is None else f"shorter side to {pixels} px (bilinear, antialiased), centre crop"
    return ImageSource(str(root), fingerprint, len(files), lambda a, b: _load(files[a:b], pixels), change)


def _load(files: Sequence[str], pixels: int | None) -> Tensor:
    images = [_open(file, pixels) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise UserError(
                f"images of one folder must have one size: {files[0]} is {_size(images[0])}, "
                f"{file} is {_size(image)}; give the side that all are brought to (--pixels)"
            )
    return torch.stack(images)


def _open(file: str, pixels: int | None) -> Tensor:
    from PIL import Image, UnidentifiedImageError
    from torchvision.transforms import functional

    try:
        with Image.open(file) as loaded:
            image = loaded.convert("RGB")
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise UserError(f"{file} does not open as an image ({error}); remove or mend it") from error
    if pixels is not None:
        image = functional.center_crop(functional.resize(image, pixels), [pixels, pixels])  # type: ignore[arg-type]
    tensor: Tensor = functional.pil_to_tensor(image)
    return tensor


def _size(image: Tensor) -> str:
    return f"{image.shape[2]} x {image.shape[1]} px"


def _warn_about_kinds(files: Sequence[str], root: Path) -> None:
    lossy = sum(not file.lower().endswith(".png") for file in files)
    if lossy:
        warnings.warn(
            f"{root}: {lossy} of {len(files)} files are JPEG, whose losses count as differences; write .png",
            stacklevel=3,
        )


def _hash(parts: Sequence[bytes]) -> str:
    running = hashlib.sha256()
    for part in parts:
        running.update(len(part).to_bytes(8, "little"))
        running.update(part)
    return running.hexdigest()[:16]
