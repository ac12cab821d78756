"""What is asked of a pipeline: prompts, what they are not, and seeds; from arguments or from a file."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimgen.errors import UserError
from mimgen.types import mix_seed

__all__ = ["PromptBatch", "PromptLine", "Request", "expand_prompts", "image_seeds", "read_prompts"]

Request = str | int | None  # a caption, a class by name or number, or nothing

FIELDS = ("prompt", "seed", "negative", "name")


@dataclass(frozen=True)
class PromptBatch:
    """One entry per image in each of the lists.

    Attributes:
        prompts: captions, class numbers or None.
        negatives: what the unconditional branch of the guidance reads.
        seeds: of the random streams.
    """

    prompts: list[Any]
    negatives: list[str]
    seeds: list[int]

    def __len__(self) -> int:
        return len(self.prompts)

    def part(self, rows: slice) -> PromptBatch:
        """The images `rows`."""
        return PromptBatch(self.prompts[rows], self.negatives[rows], self.seeds[rows])


def expand_prompts(
    prompts: Sequence[Request], negative: str | Sequence[str], seed: int | Sequence[int], images_per_prompt: int
) -> PromptBatch:
    """From the arguments of a pipeline.

    Args:
        prompts: captions, classes or None, one each.
        negative: one for all or one per prompt.
        seed: one per image, or one number from which each image's is derived by its place.
        images_per_prompt: how often each prompt is generated; its images follow each other.

    Raises:
        UserError: nothing is asked, or numbers that do not fit.
    """
    if isinstance(prompts, str):
        raise UserError(f'prompts must be a list of captions: pass ["{prompts[:40]}"]')
    negatives = [negative] * len(prompts) if isinstance(negative, str) else list(negative)
    if len(negatives) != len(prompts):
        raise UserError(
            f"{len(negatives)} negative prompts for {len(prompts)} prompts: give one for each prompt, or a single one"
        )
    times = range(images_per_prompt)
    return PromptBatch(
        [prompt for prompt in prompts for _ in times],
        [word for word in negatives for _ in times],
        image_seeds(seed, len(prompts), images_per_prompt),
    )


def image_seeds(seed: int | Sequence[int], prompts: int, images_per_prompt: int = 1) -> list[int]:
    """One seed for each image; a single image takes a single number as it is.

    Args:
        seed: one per image, or one number from which each image's is derived by its place; NumPy's numbers, too.
        prompts: how many there are.
        images_per_prompt: how often each is generated.

    Raises:
        UserError: no image is asked for, or seeds that are no whole numbers or not as many as images.
    """
    if images_per_prompt < 1:
        raise UserError(f"images_per_prompt={images_per_prompt}: ask for at least one image")
    if prompts == 0:
        raise UserError("no prompt given: pass at least one caption")
    count = prompts * images_per_prompt
    if isinstance(seed, int) or not isinstance(seed, Sized):  # numbers of NumPy are no int
        one = _integer(seed)
        return [one] if count == 1 else [mix_seed(one, number) for number in range(count)]
    if len(seed) != count:
        raise UserError(
            f"{len(seed)} seeds for {count} images: give one for each image, or a single number"
        )
    return [_integer(each) for each in seed]


def _integer(seed: Any) -> int:
    try:
        return operator.index(seed)
    except TypeError:
        raise UserError(f"seed {seed!r}: give a whole number, or one for each image") from None


@dataclass(frozen=True)
class PromptLine:
    """A line of a file of prompts.

    Attributes:
        prompt: the caption.
        name: of the image's file, without its ending.
        seed: None where the line does not say.
        negative: None where the line does not say.
    """

    prompt: str
    name: str
    seed: int | None = None
    negative: str | None = None


def read_prompts(path: Path) -> list[PromptLine]:
    """Read a file of prompts: one per line, or in a file that ends in .jsonl an object per line.

    Objects have "prompt" and may have "seed", "negative" and "name". A line without a name is called by its number
    in the file, such as 00012, so that lines added at the end leave the others' names. Empty lines are skipped.

    Raises:
        UserError: no such file, no text, no prompt in it, a line that is no such object, or a name that appears
            twice or cannot be that of a file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"the file of prompts {path} cannot be read ({reason})") from None
    # not splitlines, which also parts at U+2028 and others that may stand within a caption
    rows = [(number, row.strip()) for number, row in enumerate(text.split("\n"), start=1) if row.strip()]
    as_objects = path.suffix.lower() == ".jsonl"
    lines = [_object(row, number, path) if as_objects else PromptLine(row, f"{number:05d}") for number, row in rows]
    if not lines:
        raise UserError(f"{path} holds no prompt: write one per line")
    _check_names(lines, path)
    return lines


def _object(row: str, number: int, path: Path) -> PromptLine:
    where = f"line {number} of {path}"
    try:
        found = json.loads(row)
    except ValueError as error:
        raise UserError(f"{where} is not JSON ({error}); in a .jsonl file every line is an object") from None
    if not isinstance(found, Mapping) or not isinstance(found.get("prompt"), str):
        raise UserError(f'{where} has no prompt: write {{"prompt": "a red apple"}}')
    if unknown := [str(name) for name in found if name not in FIELDS]:
        raise UserError(f"{where} has {', '.join(unknown)}; an object may have {', '.join(FIELDS)}")
    for name, kind, word in (("seed", int, "a whole number"), ("negative", str, "text"), ("name", str, "text")):
        _check_kind(found.get(name), kind, f"{name} in {where} must be {word}")
    name = found["name"] if found.get("name") is not None else f"{number:05d}"
    return PromptLine(found["prompt"], name, found.get("seed"), found.get("negative"))


def _check_kind(value: Any, kind: type, message: str) -> None:
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise UserError(message)


def _check_names(lines: Sequence[PromptLine], path: Path) -> None:
    seen: set[str] = set()
    for line in lines:
        if not line.name or line.name.startswith(".") or set(line.name) & set('/\\:*?"<>|\0'):
            raise UserError(f'"{line.name}" in {path} cannot be the name of a file: use letters, digits, - and _')
        if line.name.lower() in seen:  # some file systems do not tell them apart
            raise UserError(f'two lines of {path} are called "{line.name}": names must differ')
        seen.add(line.name.lower())
