"""Small images and folders for the tests of own data."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def image(number: int, width: int = 20, height: int = 16) -> Image.Image:
    """A plain colour that tells images apart: red is 10 * number."""
    return Image.new("RGB", (width, height), (10 * number % 256, 100, 200))


def encoded(number: int, kind: str = "PNG") -> bytes:
    """The file of `image`."""
    buffer = io.BytesIO()
    image(number).save(buffer, kind)
    return buffer.getvalue()


def noise_jpeg() -> bytes:
    """A JPEG large enough to be cut in the middle of its data."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def write_plain(folder: Path, count: int) -> Path:
    """`count` PNG files without captions."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:03d}.png").write_bytes(encoded(number))
    return folder


def write_captioned(folder: Path, count: int) -> Path:
    """`write_plain` with a metadata.jsonl."""
    write_plain(folder, count)
    rows = [{"file_name": f"{number:03d}.png", "text": f"image {number}"} for number in range(count)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def write_shards(folder: Path, shards: int, each: int) -> str:
    """Shards part-000.tar ...; returns their brace pattern."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        with tarfile.open(folder / f"part-{shard:03d}.tar", "w") as tar:
            for number in range(shard * each, (shard + 1) * each):
                add(tar, f"{number:05d}.png", encoded(number))
                add(tar, f"{number:05d}.txt", f"image {number}".encode())
                add(tar, f"{number:05d}.cls", str(number % 3).encode())
    return str(folder / f"part-{{000..{shards - 1:03d}}}.tar")


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a member."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
