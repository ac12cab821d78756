"""Reading released weights: safetensors, or pickled tensors and nothing else."""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mimgen.errors import UserError

__all__ = ["SUFFIXES", "Checkpoint", "Weights", "read_checkpoint", "read_config"]

Weights = Literal["model", "ema"]

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
# where a folder's weights are looked for before its only file of weights is taken
_USUAL = ("diffusion_pytorch_model.safetensors", "model.safetensors", "pytorch_model.bin")
_CONFIGS = ("config.json", "config.yaml", "config.yml")
# entries of a pickled dictionary that hold the state dict, and those that hold its moving average
_MODEL = ("state_dict", "model_state_dict", "model", "module", "net", "params", "student")
_EMA = ("model_ema", "ema", "ema_model", "state_dict_ema", "ema_state_dict", "params_ema", "teacher")
# entries that hold the arguments of the run
_ARGUMENTS = ("config", "hyper_parameters", "args")
# put in front of every key by data parallelism and by torch.compile
_WRAPPERS = ("module.", "_orig_mod.")
_LIT_EMA = "model_ema."  # in front of the averaged weights that the latent-diffusion code base keeps


@dataclass(frozen=True)
class Checkpoint:
    """What a file or folder of weights holds.

    Attributes:
        path: the file, or the first of several shards.
        tensors: by official key.
        config: the official configuration; empty where there is none.
        weights: which of the weights were taken.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any]
    weights: Weights = "model"


def read_checkpoint(source: Path, config: Path | None = None, weights: Weights | None = None) -> Checkpoint:
    """Read the weights in a file or folder and the configuration beside them.

    Args:
        source: a file of weights, or a folder with one (or with an index of shards).
        config: a .json or .yaml file; by default `config.json` or `config.yaml` beside the weights, or
            what the file itself holds.
        weights: "ema" takes the moving average; None takes whatever is the only one there.

    Raises:
        UserError: nothing to read, not weights, objects other than tensors, or both kinds of weights.
    """
    path = _weights_file(source)
    if path.name.endswith(".index.json"):
        found: Any = _shards(path)
    elif path.suffix == ".safetensors":
        found = _safetensors(path)
    else:
        found = _pickled(path)
    if not isinstance(found, Mapping):
        raise UserError(f"{path} holds a {type(found).__name__}, not named tensors: pass the file of weights")
    tensors, taken = _choose(path, found, weights)
    given = config or _config_beside(path)
    return Checkpoint(path, tensors, read_config(given) if given else _inner_config(found), taken)


def read_config(path: Path) -> dict[str, Any]:
    """A .json or .yaml file as a dictionary.

    Raises:
        UserError: no such file, or not one dictionary.
    """
    if not path.is_file():
        raise UserError(f"no such file: {path}; --config takes the release's .json or .yaml")
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".json":
            config = json.loads(text)
        else:
            import yaml

            config = yaml.safe_load(text)
    except Exception as error:  # yaml's errors are no ValueErrors
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} holds a {type(config).__name__}; a configuration is one dictionary")
    return config


def _weights_file(source: Path) -> Path:
    if source.is_file():
        return source
    if not source.is_dir():
        raise UserError(f"no such file or folder: {source}")
    for name in _USUAL:
        # half precision is read where nothing else is there
        for path in (source / name, source / name.replace(".", ".fp16.")):
            if path.is_file():
                return path
    files = sorted(source.glob("*.index.json")) or sorted(p for p in source.iterdir() if p.suffix in SUFFIXES)
    if len(files) == 1:
        return files[0]
    if not files:
        raise UserError(f"{source} holds no weights ({', '.join(SUFFIXES)}): pass the file or its folder")
    raise UserError(f"{source} holds several weights ({', '.join(p.name for p in files)}): pass one of them")


def _config_beside(path: Path) -> Path | None:
    names = (*_CONFIGS, f"{path.stem}.json", f"{path.stem}.yaml", f"{path.stem}.yml")
    return next((path.parent / name for name in names if (path.parent / name).is_file()), None)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a safetensors file ({error}): is the download complete?") from error


def _shards(index: Path) -> dict[str, Tensor]:
    names = read_config(index).get("weight_map", {})
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(names.values())):
        shard = index.parent / name
        if not shard.is_file():
            raise UserError(f"{index.name} names {name}, which is not in {index.parent}: download it, too")
        tensors |= _safetensors(shard) if shard.suffix == ".safetensors" else _pickled(shard)
    return tensors


def _pickled(path: Path) -> Any:
    """torch.load of tensors and plain values; see `_allowed` for the few classes beyond these."""
    try:
        with torch.serialization.safe_globals(_allowed()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds: pickle, zip, EOF, Runtime
        raise UserError(_refusal(path, error)) from error


def _allowed() -> list[Any]:
    """Classes that may be unpickled because they only hold values.

    The arguments of runs (argparse.Namespace, paths, omegaconf where it is installed) and scalars of numpy.
    """
    import numpy as np
    from numpy._core.multiarray import scalar

    values: list[Any] = [argparse.Namespace, pathlib.PosixPath, pathlib.PurePosixPath, collections.defaultdict]
    values += [np.dtype, scalar, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?"))]
    try:
        from omegaconf import DictConfig, ListConfig
        from omegaconf.base import ContainerMetadata, Metadata
        from omegaconf.nodes import AnyNode
    except ImportError:
        return values
    return [*values, DictConfig, ListConfig, ContainerMetadata, Metadata, AnyNode, Any, dict, list, int]


def _refusal(path: Path, error: Exception) -> str:
    try:
        with torch.serialization.safe_globals(_allowed()):
            found = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except Exception:  # not one of torch's archives: the first error says more
        found = []
    if not found:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        return f"{path} is not a file of weights ({reason}): is the download complete?"
    return (
        f"{path} holds objects other than tensors, which could run code when read: {', '.join(sorted(found))}. "
        "Where you trust the file, save its state dict alone as safetensors and convert that"
    )


def _choose(path: Path, found: Mapping[Any, Any], weights: Weights | None) -> tuple[dict[str, Tensor], Weights]:
    """The state dict that `weights` names, or the only one."""
    kinds: dict[Weights, dict[str, Tensor]] = {}
    if (model := _state_dict(found, _MODEL)) or (model := _tensors(found)):
        kinds["model"] = {key: value for key, value in model.items() if not key.startswith(_LIT_EMA)}
        if len(kinds["model"]) < len(model):
            kinds["ema"] = _lit_ema(model)
    if average := _state_dict(found, _EMA):
        kinds["ema"] = average
    if not kinds:
        raise UserError(f"{path} holds no state dict (its entries: {_some(found)}): pass the file of weights")
    if weights is None and len(kinds) > 1:
        raise UserError(
            f"{path} holds the trained weights and their moving average: choose with --weights ema (what "
            "papers usually measure) or --weights model"
        )
    chosen = weights or next(iter(kinds))
    if chosen not in kinds:
        raise UserError(f"{path} holds no {chosen} weights, only {', '.join(kinds)}: leave --weights out")
    return _unwrapped(kinds[chosen]), chosen


def _state_dict(found: Mapping[Any, Any], names: Iterable[str]) -> dict[str, Tensor]:
    for name in names:
        inner = found.get(name)
        # some releases nest twice, for example {"model": {"state_dict": ...}}
        if isinstance(inner, Mapping) and (tensors := _tensors(inner) or _state_dict(inner, names)):
            return tensors
    return {}


def _tensors(found: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}


def _lit_ema(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The averaged weights under their own names: they are kept with the dots removed."""
    average = {key.removeprefix(_LIT_EMA): value for key, value in tensors.items() if key.startswith(_LIT_EMA)}
    plain = {key: value for key, value in tensors.items() if not key.startswith(_LIT_EMA)}
    # buffers are not averaged, so these stay as they are
    return {key: average.get(key.replace(".", ""), value) for key, value in plain.items()}


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _WRAPPERS:
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def _inner_config(found: Mapping[Any, Any]) -> dict[str, Any]:
    """The arguments that a pickled checkpoint carries, as a dictionary."""
    for name in _ARGUMENTS:
        value = found.get(name)
        if isinstance(value, argparse.Namespace):
            return dict(vars(value))
        if type(value).__name__ == "DictConfig":
            from omegaconf import OmegaConf

            plain: Any = OmegaConf.to_container(value, resolve=False)
            return dict(plain)
        if isinstance(value, Mapping):
            return {str(key): item for key, item in value.items()}
    return {}


def _some(found: Mapping[Any, Any]) -> str:
    names = [str(name) for name in found]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "none"
