"""Checkpoints that are complete or absent: safetensors and JSON, written under a temporary name and renamed.

Layout: ``<run>/checkpoints/step-00000200/{model,ema,optimizer}.safetensors`` and ``state.json``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.files import TEMPORARY, new_folder
from mimgen.training.shard import full_tensor, split_like

_PREFIX = "step-"
_FILES = ("model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json")


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to resume.

    Attributes:
        model: parameters and buffers by name.
        ema: the same names, with averaged values where there are averages.
        optimizer: "<parameter>.<state>" tensors.
        state: JSON: step, settings, counters, random states.
    """

    model: Mapping[str, Tensor]
    ema: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    state: Mapping[str, Any]


def save_checkpoint(run: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write a checkpoint atomically and drop all but the last `keep`.

    A crash at any moment leaves either the old set of checkpoints or the new one; what is half
    written has a temporary name, which `newest` ignores and `clean` removes.
    """
    from safetensors.torch import save_file

    root = run / "checkpoints"
    root.mkdir(parents=True, exist_ok=True)
    final = root / f"{_PREFIX}{int(checkpoint.state['step']):08d}"
    with new_folder(final, replace=True) as temporary:
        for name in ("model", "ema", "optimizer"):
            save_file(_plain(getattr(checkpoint, name)), temporary / f"{name}.safetensors")
        (temporary / "state.json").write_text(json.dumps(checkpoint.state, indent=1) + "\n", encoding="utf-8")
    for old in _finished(run)[:-keep]:
        _discard(old)
    return final


def newest(run: Path) -> Path | None:
    """The folder of the latest complete checkpoint of a run, or None."""
    finished = _finished(run)
    return finished[-1] if finished else None


def clean(run: Path) -> None:
    """Remove what a killed process left half written."""
    for path in (run / "checkpoints").glob(f".*{TEMPORARY}"):
        shutil.rmtree(path, ignore_errors=True)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read one checkpoint folder to CPU tensors.

    Raises:
        UserError: a file is missing or unreadable.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(f"checkpoint {folder} lacks {', '.join(missing)}; delete it to use the one before it")
    try:
        tensors = {name: load_file(folder / f"{name}.safetensors") for name in ("model", "ema", "optimizer")}
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (SafetensorError, json.JSONDecodeError) as error:
        raise UserError(
            f"checkpoint {folder} is damaged ({error}); delete it to use the one before it"
        ) from error
    return Checkpoint(state=state, **tensors)


def load_ema(folder: Path, objective: nn.Module) -> int:
    """Load the averaged weights of a run's newest checkpoint into `objective`.

    Args:
        folder: the run folder.
        objective: built as it was for training; changed in place.

    Returns:
        The step of the checkpoint.

    Raises:
        UserError: no checkpoint, or one of another architecture.
    """
    latest = newest(folder)
    if latest is None:
        raise UserError(f"{folder} holds no checkpoint; train first, or check the path")
    checkpoint = load_checkpoint(latest)
    restore_module(objective, checkpoint.ema, latest)
    return int(checkpoint.state["step"])


def module_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Live parameters and persistent buffers by name, each shared tensor once."""
    seen: set[int] = set()
    tensors = {}
    for name, value in module.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor) and id(value) not in seen:
            seen.add(id(value))
            tensors[name] = value.detach()
    return tensors


@torch.no_grad()
def restore_module(module: nn.Module, saved: Mapping[str, Tensor], source: Path) -> None:
    """Copy saved tensors into a module, strictly: same names, same shapes."""
    own = module_tensors(module)
    wrong = sorted(own.keys() ^ saved.keys())
    wrong += [name for name in own if name in saved and own[name].shape != saved[name].shape]
    if wrong:
        raise UserError(
            f"{source} was written by another architecture: {len(wrong)} tensors differ in name or shape "
            f"(first: {wrong[0]}); build the same model, or choose another --out"
        )
    for name, tensor in own.items():
        tensor.copy_(split_like(saved[name], tensor))


def optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as "<parameter>.<state>" tensors."""
    return {
        f"{name}.{key}": full_tensor(value)
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    module: nn.Module, optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor]
) -> None:
    """Put saved optimiser tensors back beside their parameters."""
    parameters = dict(module.named_parameters())
    for key, value in saved.items():
        name, _, field = key.rpartition(".")
        parameter = parameters[name]
        # Moments have the shape of their weight and are split as it is; step counters are scalars.
        alike = value.shape == parameter.shape
        optimizer.state[parameter][field] = (
            _laid_out(split_like(value, parameter), parameter) if alike else value.to(parameter.device)
        )


def _laid_out(moment: Tensor, parameter: Tensor) -> Tensor:
    """The moment with the strides of its weight: fused optimisers walk through the memory of both."""
    if moment.stride() == parameter.stride():
        return moment
    return torch.empty_like(parameter, dtype=moment.dtype).copy_(moment)


def _finished(run: Path) -> list[Path]:
    folders = (run / "checkpoints").glob(f"{_PREFIX}*")
    return sorted(path for path in folders if path.is_dir() and path.name[len(_PREFIX) :].isdigit())


def _discard(folder: Path) -> None:
    """Remove a folder; renamed first, so that a crash midway leaves no half of a checkpoint."""
    if not folder.exists():
        return
    doomed = folder.with_name(f".old-{folder.name}{TEMPORARY}")
    shutil.rmtree(doomed, ignore_errors=True)
    os.rename(folder, doomed)
    shutil.rmtree(doomed)


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
