"""Parity cases: what an official implementation computed, and whether we compute the same.

A case is a safetensors file with `weights/`, `inputs/` and `outputs/` tensors and string metadata (`system`,
`config` as JSON, `tolerance`, ...). A replay is a function from a case to its outputs by name; it is found by
the system that the file names, never by file name or size.
"""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mimgen.errors import UserError


@dataclass(frozen=True)
class Case:
    """One recorded case.

    Attributes:
        system: what was run.
        config: the official constructor arguments.
        inputs: tensors by name, random samples included.
        weights: tensors by official state-dict key.
        outputs: recorded tensors by name; gradients as `grad/<key>`.
        metadata: all strings of the file.
        tolerance: largest allowed max|a - b| / max|b| of a real output; 0 is exact.
    """

    system: str
    config: Mapping[str, Any]
    inputs: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    tolerance: float


@dataclass(frozen=True)
class Comparison:
    """One recorded output against ours.

    Attributes:
        name: of the output.
        error: max|a - b| / max|b|; infinite where the output is missing, not finite or of another shape.
        ok: within the tolerance of the case.
    """

    name: str
    error: float
    ok: bool


Replay = Callable[[Case], Mapping[str, Tensor]]


def systems() -> dict[str, Replay]:
    """The replay of every known system: all that the modules of `tests.parity.replays` hold in their REPLAYS.

    Raises:
        ValueError: two modules replay one system.
    """
    # Imported here because the replays themselves need `Case`.
    from tests.parity import replays

    known: dict[str, Replay] = {}
    for found in pkgutil.iter_modules(replays.__path__):
        module = importlib.import_module(f"{replays.__name__}.{found.name}")
        if twice := known.keys() & module.REPLAYS.keys():
            raise ValueError(
                f"{module.__name__} replays {', '.join(sorted(twice))}, which another module replays too"
            )
        known |= module.REPLAYS
    return known


def load_case(path: Path) -> Case:
    """Read a case file.

    Raises:
        UserError: the file is not a safetensors file, or not one of a parity case.
    """
    from safetensors import SafetensorError, safe_open

    groups: dict[str, dict[str, Tensor]] = {"weights": {}, "inputs": {}, "outputs": {}}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            for key in file.keys():  # noqa: SIM118 (a file, not a mapping)
                group, _, name = key.partition("/")
                if group in groups:
                    groups[group][name] = file.get_tensor(key)
        config = json.loads(metadata["config"])
        tolerance = parse_tolerance(metadata["tolerance"])
        system = metadata["system"]
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{path} is not a parity case ({error}); give a recorded .safetensors case"
        ) from error
    if not groups["outputs"]:
        raise UserError(f"{path} is not a parity case (no outputs/); give a recorded .safetensors case")
    return Case(system, config, metadata=metadata, tolerance=tolerance, **groups)


def parse_tolerance(text: str) -> float:
    """The number of a tolerance: the first one outside brackets, or 0 for "exact" without a number."""
    number = re.search(r"\d+(\.\d+)?(e-?\d+)?", re.sub(r"\([^)]*\)", "", text))
    if number:
        return float(number[0])
    if "exact" in text:
        return 0.0
    raise ValueError(f"tolerance {text!r} holds neither a number nor 'exact'")


def replay(case: Case) -> list[Comparison]:
    """Run our implementation on a case and compare every recorded output.

    Raises:
        UserError: no replay is known for the case's system.
    """
    known = systems()
    if case.system not in known:
        raise UserError(f"unknown system {case.system!r}; known are {', '.join(sorted(known))}")
    produced = known[case.system](case)
    return [
        compare(name, produced.get(name), recorded, case.tolerance) for name, recorded in case.outputs.items()
    ]


def compare(name: str, ours: Tensor | None, recorded: Tensor, tolerance: float) -> Comparison:
    """Compare one output; integers and booleans must be equal whatever the tolerance."""
    if ours is not None and ours.ndim == 0 and recorded.shape == (1,):
        ours = ours[None]  # many cases hold their scalars as [1]
    if ours is None or ours.shape != recorded.shape:
        return Comparison(name, math.inf, False)
    if recorded.numel() == 0:
        return Comparison(name, 0.0, True)
    a, b = ours.detach().cpu().double(), recorded.double()
    # Equal entries first: two infinities of one sign are equal, their difference is not a number.
    difference = float((a - b).masked_fill(a == b, 0).abs().max())
    scale = float(b.abs().max())
    error = difference / scale if scale > 0 and math.isfinite(scale) else difference
    error = error if math.isfinite(error) else math.inf
    allowed = tolerance if recorded.is_floating_point() else 0.0
    return Comparison(name, error, error <= allowed)
