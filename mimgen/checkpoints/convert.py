"""An official release to a folder of ours, and a folder of ours to a file in the official layout.

Keys and shapes must fit exactly. A file that does not fit leaves nothing behind but the list of differences.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mimgen import __version__
from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.official import OfficialModel
from mimgen.checkpoints.read import SUFFIXES, Weights, read_checkpoint
from mimgen.errors import UserError
from mimgen.files import check_unused, new_file, new_folder
from mimgen.pretrained import PretrainedModule

__all__ = ["convert", "model_card", "number_format", "revert"]


def convert(
    adapter: StateDictAdapter, source: Path, target: Path, config: Path | None = None, weights: Weights | None = None
) -> Path:
    """Write the module (or pipeline) that `source` holds as our folder `target`.

    Args:
        adapter: of the release that the source is of.
        source: a file of weights or a folder; see `read_checkpoint`.
        target: the new folder; must not exist, or be empty. It appears whole or not at all.
        config: the official configuration, where it does not lie beside the weights.
        weights: "model" or "ema", where the file holds both.

    Raises:
        UserError: unreadable source, keys or shapes that do not fit, or a target that is in use.
    """
    source, target = Path(source), Path(target)
    check_unused(target)
    if adapter.folder is not None and (source / "model_index.json").is_file():
        with new_folder(target) as made:
            adapter.folder(source, made)
        return target
    checkpoint = read_checkpoint(source, config, weights)
    module = adapter.build(checkpoint, target.with_name(f"{target.name}.keys.txt"))
    with new_folder(target) as made:
        if isinstance(module, PretrainedModule | OfficialModel):
            module.save_pretrained(made, dtype=number_format(checkpoint.tensors))
        else:
            module.save_pretrained(made)
        card = model_card(adapter, type(module).__name__, checkpoint.path, checkpoint.weights)
        (made / "README.md").write_text(card, encoding="utf-8")
    return target


def revert(adapter: StateDictAdapter, source: Path, target: Path) -> Path:
    """Write a converted (and perhaps further trained) folder as one file with the official names and shapes.

    Before anything is written the tensors are read back and compared, so the file is one that `convert` takes.

    Args:
        adapter: of the release in whose layout to write.
        source: folder of ours; of a pipeline its transformer is taken.
        target: a new file: .safetensors, or one of .pt, .pth, .ckpt and .bin for a pickled state dict.

    Raises:
        UserError: the folder is of another architecture, or the target is in use or of another ending.
    """
    source, target = Path(source), Path(target)
    if target.suffix not in SUFFIXES:
        raise UserError(f"{target}: name a file ending in {', '.join(SUFFIXES)}; it gets the official names")
    check_unused(target)
    if (source / "model_index.json").is_file():
        source = source / "transformer"
    module = adapter.load(source)
    dtype = number_format(read_checkpoint(source).tensors)
    tensors = {key: _stored(value, dtype) for key, value in adapter.to_official(module.state_dict()).items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    with new_file(target) as temporary:
        if target.suffix == ".safetensors":
            from safetensors.torch import save_file

            save_file(tensors, temporary, metadata={"format": "pt"})
        else:
            torch.save(tensors, temporary)
    return target


def model_card(adapter: StateDictAdapter, kind: str, source: Path, weights: str) -> str:
    """README.md of a converted folder: what it was made from, so that it can be traced."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return (
        f"# {adapter.name}\n\n{adapter.about}\n\n"
        f"| | |\n|---|---|\n| class | `{kind}` |\n| source | `{source.name}` |\n"
        f"| sha256 of the source | `{_sha256(source)}` |\n| weights | {weights} |\n"
        f"| converted | {date}, mimgen {__version__} |\n\n"
        "The licence is that of the release. Load it with `mimgen.load_pretrained` or pass the folder wherever "
        "mimgen takes a model.\n"
    )


def number_format(tensors: Mapping[str, Tensor]) -> torch.dtype | None:
    """The one number format of a half-precision release, so that its folder does not grow; else None."""
    formats = {value.dtype for value in tensors.values() if value.is_floating_point()}
    return formats.pop() if formats in ({torch.float16}, {torch.bfloat16}) else None


def _stored(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    # a copy, because safetensors refuses tensors that share memory, as tied weights do
    value = value.detach().clone().contiguous()
    return value.to(dtype) if dtype is not None and value.is_floating_point() else value


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
