"""Files of pictures: written whole or not at all, and not again where they are there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from mimgen.pipelines.jobs import Task

__all__ = ["FORMATS", "Folder", "save_picture"]

FORMATS = (".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tiff")
SETTINGS, RECORDS = "settings.json", "pictures.jsonl"


def save_picture(picture: Tensor, path: Path) -> None:
    """Write a picture [3, H, W] in [0, 1] in the format that the name ends in.

    Raises:
        UserError: the file cannot be written.
    """
    import io

    from PIL import Image

    from mimgen.files import write_atomically
    from mimgen.pipelines.pictures import to_pil

    content = io.BytesIO()
    to_pil(picture[None])[0].save(content, format=Image.registered_extensions()[path.suffix.lower()])
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror or error}); choose another --out") from None


@dataclass(frozen=True)
class Folder:
    """A folder of pictures from a file of prompts, to which later runs add.

    It keeps settings.json, how all of its pictures are made, and pictures.jsonl, a line for each that is there.

    Attributes:
        path: of the folder.
        settings: what settings.json says.
        made: file name of a picture -> how it was made.
    """

    path: Path
    settings: Mapping[str, Any]
    made: dict[str, dict[str, Any]]

    @classmethod
    def open(cls, path: Path, settings: Mapping[str, Any]) -> Folder:
        """Open a folder, or begin one.

        Raises:
            UserError: it holds pictures that were made otherwise.
        """
        if (path / SETTINGS).is_file():
            _check_settings(path / SETTINGS, json.loads(json.dumps(settings)))
        return cls(path, settings, _records(path / RECORDS))

    def missing(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks whose picture is not there, or was made from another prompt or seed."""
        return [
            task for task in tasks if not (self.made.get(task.path.name) == _record(task) and task.path.is_file())
        ]

    def note(self, task: Task) -> None:
        """Remember that the picture of a task is written; the first one settles the settings."""
        from mimgen.evaluation.results import write_result

        if not (self.path / SETTINGS).is_file():
            write_result(self.path / SETTINGS, self.settings)
        self.made[task.path.name] = _record(task)
        with (self.path / RECORDS).open("a", encoding="utf-8") as file:
            # a line of its own even behind half a line that a crash has left
            file.write(("\n" if file.tell() else "") + json.dumps(_record(task), ensure_ascii=False))


def _record(task: Task) -> dict[str, Any]:
    return {"file": task.path.name, "prompt": task.prompt, "seed": task.seed, "negative": task.negative}


def _records(path: Path) -> dict[str, dict[str, Any]]:
    """The last record of each file."""
    found: dict[str, dict[str, Any]] = {}
    # not splitlines: a prompt may hold U+2028, which JSON leaves as it is
    for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else ():
        try:
            record = json.loads(line)
            found[record["file"]] = record
        except (ValueError, LookupError, TypeError):
            continue  # a damaged line; its picture is made again
    return found


def _check_settings(path: Path, now: Mapping[str, Any]) -> None:
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise UserError(f"{path} is damaged; delete it to make all pictures again, or choose another --out") from None
    other = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    other = [name for name in other if name != "model"]  # which its weights tell; a folder may have moved
    if other:
        words = ", ".join(f"{name} {before.get(name)} (now {now.get(name)})" for name in other)
        raise UserError(f"{path.parent} holds pictures made with {words}; go on with the same, or choose another --out")
