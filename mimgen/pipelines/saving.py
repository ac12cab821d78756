"""Files of images: written whole or not at all, and not again where they are there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.errors import UserError
from mimgen.files import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FORMATS", "Folder", "GenerationJob", "save_image"]

FORMATS = (".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tiff")
SETTINGS, RECORDS = "settings.json", "images.jsonl"


@dataclass(frozen=True)
class GenerationJob:
    """One image that is asked for.

    Attributes:
        prompt: its caption, its class, or None for an unconditional model.
        seed: of its random numbers.
        negative: what the guidance leads away from.
        path: of the file.
        name: of its previews.
    """

    prompt: str | None
    seed: int
    negative: str
    path: Path
    name: str


def save_image(image: Tensor, path: Path) -> None:
    """Write an image [3, H, W] in [0, 1] in the format that the name ends in.

    Raises:
        UserError: the file cannot be written.
    """
    import io

    from PIL import Image

    from mimgen.pipelines.images import to_pil

    content = io.BytesIO()
    to_pil(image[None])[0].save(content, format=Image.registered_extensions()[path.suffix.lower()])
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror or error}); choose another --out") from None


@dataclass(frozen=True)
class Folder:
    """A folder of images from a file of prompts, to which later runs add.

    It keeps settings.json, how all of its images are made, and images.jsonl, a line for each that is there.

    Attributes:
        path: of the folder.
        settings: what settings.json says.
        made: file name of an image -> how it was made.
    """

    path: Path
    settings: Mapping[str, Any]
    made: dict[str, dict[str, Any]]

    @classmethod
    def open(cls, path: Path, settings: Mapping[str, Any]) -> Folder:
        """Open a folder, or begin one.

        Raises:
            UserError: it holds images that were made otherwise.
        """
        if (path / SETTINGS).is_file():
            _check_settings(path / SETTINGS, json.loads(json.dumps(settings)))
        return cls(path, settings, _records(path / RECORDS))

    def missing(self, jobs: Sequence[GenerationJob]) -> list[GenerationJob]:
        """The tasks whose image is not there, or was made from another prompt or seed."""
        return [
            job for job in jobs if not (self.made.get(job.path.name) == _record(job) and job.path.is_file())
        ]

    def note(self, job: GenerationJob) -> None:
        """Remember that the image of a task is written; the first one settles the settings."""
        if not (self.path / SETTINGS).is_file():
            write_atomically(self.path / SETTINGS, json.dumps(self.settings, indent=2, ensure_ascii=False) + "\n")
        self.made[job.path.name] = _record(job)
        with (self.path / RECORDS).open("a", encoding="utf-8") as file:
            # a line of its own even behind half a line that a crash has left
            file.write(("\n" if file.tell() else "") + json.dumps(_record(job), ensure_ascii=False))


def _record(job: GenerationJob) -> dict[str, Any]:
    return {"file": job.path.name, "prompt": job.prompt, "seed": job.seed, "negative": job.negative}


def _records(path: Path) -> dict[str, dict[str, Any]]:
    """The last record of each file."""
    found: dict[str, dict[str, Any]] = {}
    # not splitlines: a prompt may hold U+2028, which JSON leaves as it is
    for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else ():
        try:
            record = json.loads(line)
            found[record["file"]] = record
        except (ValueError, LookupError, TypeError):
            continue  # a damaged line; its image is made again
    return found


def _check_settings(path: Path, now: Mapping[str, Any]) -> None:
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise UserError(f"{path} is damaged; delete it to make all images again, or choose another --out") from None
    other = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    other = [name for name in other if name != "model"]  # which its weights tell; a folder may have moved
    if other:
        words = ", ".join(f"{name} {before.get(name)} (now {now.get(name)})" for name in other)
        raise UserError(
            f"{path.parent} holds images made with {words}; continue with the same, or choose another --out"
        )
