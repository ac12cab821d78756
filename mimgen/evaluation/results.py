"""Result files: what was measured, with what, on what, by whom."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mimgen
from mimgen.files import write_atomically

_LIBRARIES = ("torch", "torchvision", "diffusers", "transformers", "accelerate", "torch-fidelity", "numpy")


def provenance(**fields: Any) -> dict[str, Any]:
    """Everything needed to repeat a measurement that the program can find out by itself.

    Args:
        fields: what only the caller knows, for example seeds, ema, guidance, reference_set,
            resize, n; they override what was found out.

    Returns:
        JSON: tool, version, versions (libraries), commit (null outside a git checkout) and whether
        the checkout was changed, command, machine, date (UTC), and `fields`.
    """
    import torch

    return {
        "tool": "mimgen",
        "version": mimgen.__version__,
        "versions": {"python": platform.python_version()} | _versions(),
        **_commit(),
        "command": shlex.join(sys.argv),
        "machine": {
            "cpu": _cpu(),
            "cores": _cores(),
            "threads": torch.get_num_threads(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
            "system": platform.platform(),
        },
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **fields,
    }


def write_result(path: str | Path, result: Mapping[str, Any]) -> Path:
    """Write JSON so that the file is either complete or not there; NaN and infinity become null.

    Args:
        path: the file; its folder is made.
        result: strings, numbers, lists, mappings, paths and tensors.

    Returns:
        The path.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_plain(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(target, text)
    return target


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # tensors and arrays
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a result cannot hold {type(value).__name__}: {value!r}")


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> dict[str, Any]:
    """The commit of the checkout that this package lies in, if it lies in one."""
    folder = Path(mimgen.__file__).resolve().parent
    top = _git(folder, "rev-parse", "--show-toplevel")
    # an installed package may lie below somebody else's checkout, for example in its .venv
    if top is None or Path(top) != folder.parent:
        return {"commit": None, "changed": None}
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed": None if changes is None else bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
