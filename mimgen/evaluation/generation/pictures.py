"""Where the pictures of a generation metric come from: 8-bit, in a fixed order, read as they are needed."""

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
from mimgen.evaluation.descriptor import check_pictures

SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class PictureSource:
    """A set of pictures that is read piece by piece.

    Attributes:
        name: for results.
        fingerprint: hash of the contents; of generated pictures, of what makes them.
        count: number of pictures n.
        read: (start, stop) -> [stop - start, 3, H, W] uint8, for 0 <= start < stop <= n.
        transform: what was done to the files before they are measured.
    """

    name: str
    fingerprint: str
    count: int
    read: Callable[[int, int], Tensor]
    transform: str = "none"


def eight_bit(pictures: Tensor) -> Tensor:
    """[n, 3, H, W] in [0, 1] to uint8 by rounding, on the CPU: the form that metrics are defined on."""
    return (pictures.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)


def from_tensor(pictures: Tensor, name: str = "tensor") -> PictureSource:
    """Pictures in memory.

    Args:
        pictures: [n, 3, H, W] in [0, 1]; rounded to 8 bits.
        name: for results and errors.

    Raises:
        UserError: another shape, no pictures, or values that are not finite or out of range.
    """
    check_pictures(pictures, name)
    stored = eight_bit(pictures)
    fingerprint = _hash([repr(tuple(stored.shape)).encode(), stored.numpy().tobytes()])
    return PictureSource(name, fingerprint, len(stored), lambda start, stop: stored[start:stop])


def from_dataset(dataset: Any, indices: Sequence[int] | None = None, name: str | None = None) -> PictureSource:
    """Pictures of a data set, as it was opened.

    Args:
        dataset: a `mimgen.data.Dataset`.
        indices: which of its pictures, in which order; all by default.
        name: for results; by default the data set's.

    Raises:
        UserError: there is no picture.
    """
    chosen = range(len(dataset)) if indices is None else tuple(indices)
    if not len(chosen):
        raise UserError(f"{dataset.name} holds no pictures to measure; check the split")

    def read(start: int, stop: int) -> Tensor:
        return torch.stack([dataset[int(index)].image for index in chosen[start:stop]])

    told = dataset.fingerprint if indices is None else _hash([dataset.fingerprint.encode(), repr(chosen).encode()])
    return PictureSource(name or dataset.name, told, len(chosen), read, "as the data set was opened")


def from_folder(folder: str | Path, pixels: int | None = None, limit: int | None = None) -> PictureSource:
    """Picture files of a folder and the folders below it, read exactly as torch-fidelity reads them.

    Args:
        folder: holds .png, .jpg or .jpeg files, taken in the order of their real paths.
        pixels: shorter side resized to this and cropped in the centre; by default files stay as they are.
        limit: only so many files, spread over the list.

    Raises:
        UserError: no folder, no pictures, files that do not open, or of different sizes without `pixels`.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"no such folder of pictures: {root}")
    if pixels is not None and pixels < 1:
        raise UserError(f"pictures of {pixels} pixels: give the side, such as 64")
    files = sorted(os.path.realpath(file) for file in root.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{root} holds no pictures ({', '.join(SUFFIXES)})")
    if limit is not None:
        files = files[:: max(1, len(files) // limit)][:limit]
    _warn_about_kinds(files, root)
    fingerprint = _hash([str(pixels).encode(), *(Path(file).read_bytes() for file in files)])
    change = "none" if pixels is None else f"shorter side to {pixels} px (bilinear, antialiased), centre crop"
    return PictureSource(str(root), fingerprint, len(files), lambda a, b: _load(files[a:b], pixels), change)


def _load(files: Sequence[str], pixels: int | None) -> Tensor:
    pictures = [_open(file, pixels) for file in files]
    for file, picture in zip(files, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            raise UserError(
                f"pictures of one folder must have one size: {files[0]} is {_size(pictures[0])}, "
                f"{file} is {_size(picture)}; give the side that all are brought to (--pixels)"
            )
    return torch.stack(pictures)


def _open(file: str, pixels: int | None) -> Tensor:
    from PIL import Image, UnidentifiedImageError
    from torchvision.transforms import functional

    try:
        with Image.open(file) as opened:
            picture = opened.convert("RGB")
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise UserError(f"{file} does not open as a picture ({error}); remove or mend it") from error
    if pixels is not None:
        picture = functional.center_crop(functional.resize(picture, pixels), [pixels, pixels])  # type: ignore[arg-type]
    tensor: Tensor = functional.pil_to_tensor(picture)
    return tensor


def _size(picture: Tensor) -> str:
    return f"{picture.shape[2]} x {picture.shape[1]} px"


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
