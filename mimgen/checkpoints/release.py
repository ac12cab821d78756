"""From an official release to a part of ours: what a release is, and the one way to convert all of them.

Keys and shapes must fit exactly. A file that does not fit leaves nothing behind but the list of differences.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimgen import __version__
from mimgen.checkpoints.read import Checkpoint, Weights, read_checkpoint
from mimgen.errors import UserError
from mimgen.files import check_unused, new_folder
from mimgen.pretrained import PretrainedModule

__all__ = ["StateDictAdapter", "build", "convert", "model_card", "number_format"]

SHOWN = 20  # differences named in the message; more go to a file


def identity(key: str) -> str | None:
    """Our key is the official one."""
    return key


def unchanged(key: str, value: Tensor) -> Tensor:
    """Our tensor has the official shape."""
    return value


@dataclass(frozen=True)
class StateDictAdapter:
    """An official release whose weights we read.

    Attributes:
        name: what the user types.
        about: one line: what it is and from where.
        kind: class of the part.
        arguments: (official config, maybe empty; official tensors) -> constructor arguments of `kind`.
        rename: official key -> ours; None for a tensor that is knowingly left out, such as a training loss.
        reshape: (our key, official tensor) -> our tensor, where shapes differ.
        folder: converts a folder of several parts (one with model_index.json): (source, target) -> None.
    """

    name: str
    about: str
    kind: Callable[..., Any]
    arguments: Callable[[Mapping[str, Any], Mapping[str, Tensor]], dict[str, Any]]
    rename: Callable[[str], str | None] = identity
    folder: Callable[[Path, Path], None] | None = None
    reshape: Callable[[str, Tensor], Tensor] = unchanged


def convert(
    release: StateDictAdapter, source: Path, target: Path, config: Path | None = None, weights: Weights | None = None
) -> Path:
    """Write the part (or pipeline) that `source` holds as our folder `target`.

    Args:
        release: what the source is.
        source: a file of weights or a folder; see `read_checkpoint`.
        target: the new folder; must not exist, or be empty. It appears whole or not at all.
        config: the official configuration, where it does not lie beside the weights.
        weights: "model" or "ema", where the file holds both.

    Raises:
        UserError: unreadable source, keys or shapes that do not fit, or a target that is in use.
    """
    source, target = Path(source), Path(target)
    check_unused(target)
    if release.folder is not None and (source / "model_index.json").is_file():
        with new_folder(target) as made:
            release.folder(source, made)
        return target
    checkpoint = read_checkpoint(source, config, weights)
    part = build(release, checkpoint, target.with_name(f"{target.name}.keys.txt"))
    with new_folder(target) as made:
        if isinstance(part, PretrainedModule):
            part.save_pretrained(made, dtype=number_format(checkpoint.tensors))
        else:
            part.save_pretrained(made)
        card = model_card(release, type(part).__name__, checkpoint.path, checkpoint.weights)
        (made / "README.md").write_text(card, encoding="utf-8")
    return target


def build(release: StateDictAdapter, checkpoint: Checkpoint, report: Path | None = None) -> Any:
    """The part with the weights of `checkpoint`, in evaluation mode.

    Args:
        release: what the checkpoint is of.
        checkpoint: its tensors and configuration.
        report: file for the full list of differences, written when there are more than 20.

    Raises:
        UserError: the checkpoint is of something else, or keys or shapes differ.
    """
    tensors = _renamed(release, checkpoint)
    try:
        arguments = release.arguments(checkpoint.config, checkpoint.tensors)
        part = release.kind(**arguments)
    except UserError as error:
        raise UserError(
            f"{checkpoint.path} does not make a {release.name}: {error}. Is it this release, and is --config its "
            "configuration?"
        ) from error
    except (LookupError, AttributeError, TypeError, ValueError, ArithmeticError, RuntimeError, StopIteration) as error:
        # the shapes and names from which the arguments are read are not there
        raise UserError(
            f"{checkpoint.path} is not {release.name} ({release.about}): {type(error).__name__} {error}. It holds "
            f"{', '.join(list(checkpoint.tensors)[:4])}, .... Is it this release, and is --config its configuration?"
        ) from error
    if found := _differences(part, tensors):
        raise UserError(_complaint(release, checkpoint, found, report))
    part.load_state_dict(tensors)
    return part.eval()


def model_card(release: StateDictAdapter, kind: str, source: Path, weights: str) -> str:
    """README.md of a converted folder: what it was made from, so that it can be traced."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return (
        f"# {release.name}\n\n{release.about}\n\n"
        f"| | |\n|---|---|\n| class | `{kind}` |\n| source | `{source.name}` |\n"
        f"| sha256 of the source | `{_sha256(source)}` |\n| weights | {weights} |\n"
        f"| converted | {date}, mimgen {__version__} |\n\n"
        f"The licence is that of the release. Load it with `mimgen.pipelines.load_part` or pass the folder "
        "wherever mimgen takes a model.\n"
    )


def _renamed(release: StateDictAdapter, checkpoint: Checkpoint) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for key, value in checkpoint.tensors.items():
        name = release.rename(key)
        if name in tensors:
            raise UserError(f"{checkpoint.path}: two tensors are called {name} in {release.name}; one is {key}")
        if name is not None:
            tensors[name] = release.reshape(name, value)
    return tensors


def _differences(part: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """One line for each missing, unexpected or wrongly shaped key."""
    own = part.state_dict()
    return [
        *(f"missing {key} {list(own[key].shape)}" for key in own if key not in tensors),
        *(f"unexpected {key} {list(tensors[key].shape)}" for key in tensors if key not in own),
        *(
            f"shape mismatch {key} {list(tensors[key].shape)} instead of {list(own[key].shape)}"
            for key in own
            if key in tensors and tensors[key].shape != own[key].shape
        ),
    ]


def _complaint(release: StateDictAdapter, checkpoint: Checkpoint, found: list[str], report: Path | None) -> str:
    kinds = ("missing", "unexpected", "shape mismatch")
    counts = ", ".join(f"{sum(line.startswith(kind) for line in found)} {kind}" for kind in kinds)
    listed = "".join(f"\n  {line}" for line in found[:SHOWN])
    rest = ""
    if len(found) > SHOWN:
        rest = f"\n  and {len(found) - SHOWN} more"
        if report is not None:
            report.parent.mkdir(parents=True, exist_ok=True)
            report.write_text("\n".join(found) + "\n", encoding="utf-8")
            rest += f"; all of them: {report}"
    return (
        f"{checkpoint.path} does not fit {release.name}: {counts} keys. Is it this release, and is --config its "
        f"configuration?{listed}{rest}"
    )


def number_format(tensors: Mapping[str, Tensor]) -> torch.dtype | None:
    """The one number format of a half-precision release, so that its folder does not grow; else None."""
    formats = {value.dtype for value in tensors.values() if value.is_floating_point()}
    return formats.pop() if formats in ({torch.float16}, {torch.bfloat16}) else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
