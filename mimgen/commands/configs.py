"""Finding the named configs, in a source tree and in an installed wheel."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import MISSING, field, make_dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_type_hints

from mimgen.commands.options import choose
from mimgen.errors import UserError

if TYPE_CHECKING:
    from mimgen.recipes import Run, TrainingRun

__all__ = ["arguments_of", "experiment", "names", "source", "summary", "training"]

PACKAGE = "mimgen_configs"


def names() -> dict[str, str]:
    """Module of every config by its name; imports no config."""
    root = _package()
    found = {}
    for folder in pkgutil.iter_modules(root.__path__):
        if not folder.ispkg:
            continue
        package = importlib.import_module(f"{PACKAGE}.{folder.name}")
        for module in pkgutil.iter_modules(package.__path__):
            found[module.name] = f"{PACKAGE}.{folder.name}.{module.name}"
    return found


def experiment(name: str) -> Callable[..., Run]:
    """The function `experiment` of the config `name`; its arguments are the command-line flags.

    Raises:
        UserError: there is no such config; the message names the nearest.
    """
    module = importlib.import_module(names()[choose(name, list(names()), "config")])
    function: Callable[..., Run] = module.experiment
    return function


def training(name: str, **arguments: Any) -> TrainingRun:
    """The run of the config `name` with `arguments`.

    Raises:
        UserError: there is no such config, or it computes its result without training.
    """
    from mimgen.recipes import Build

    run = experiment(name)(**arguments)
    if isinstance(run, Build):
        raise UserError(f"{name} is computed, not trained; choose a config that is trained, such as vqgan")
    return run


def source(name: str) -> str:
    """The text of a config's file."""
    return inspect.getsource(importlib.import_module(names()[name]))


def summary(name: str) -> str:
    """First line of a config's docstring, read without importing it."""
    spec = importlib.util.find_spec(names()[name])
    text = Path(spec.origin).read_text("utf-8") if spec is not None and spec.origin else ""
    return text.split('"""')[1].strip().splitlines()[0] if text.count('"""') > 1 else ""


def arguments_of(function: Callable[..., Run]) -> type:
    """A dataclass with the arguments of `function` and `out`, for the command line."""
    hints = get_type_hints(function)
    fields: list[tuple[str, Any, Any]] = []
    for parameter in inspect.signature(function).parameters.values():
        default = MISSING if parameter.default is inspect.Parameter.empty else parameter.default
        fields.append((parameter.name, hints[parameter.name], field(default=default)))
    fields.append(("out", Path | None, field(default=None)))
    kind = make_dataclass("Arguments", fields)
    kind.__doc__ = (
        f"{inspect.getdoc(function)}\n    out: the run folder, by default runs/<config>-<size>; "
        "the same command with the same folder goes on where it stopped.\n"
    )
    return kind


def _package() -> ModuleType:
    """The package of configs: installed, or the folder configs/ beside the sources."""
    try:
        return importlib.import_module(PACKAGE)
    except ModuleNotFoundError:
        pass
    folder = Path(__file__).resolve().parents[2] / "configs"
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None or not folder.is_dir():
        raise UserError("the named configs are missing from this installation; install mimgen again")
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)
    return module
