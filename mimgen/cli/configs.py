"""Finding the named configs, in a source tree and in an installed wheel."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable
from dataclasses import MISSING, field, fields, make_dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_type_hints

from mimgen.cli.options import choose
from mimgen.errors import UserError

if TYPE_CHECKING:
    from mimgen.recipes import Run, TrainingRun

__all__ = ["arguments_of", "experiment", "names", "source", "summary", "training"]

PACKAGE = "mimgen_configs"
# an argument's description in a docstring without its indent, and the lines that continue with it
DESCRIBED = re.compile(r"^    (\w+):.*(?:\n {8}.*)*", re.MULTILINE)


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

    Flags that every training has, which the config itself takes as one `TrainFlags`, are arguments like its own.

    Raises:
        UserError: there is no such config; the message names the nearest.
    """
    module = importlib.import_module(names()[choose(name, list(names()), "config")])
    return _flat(module.experiment)


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
        "the same command with the same folder resumes where it stopped.\n"
    )
    return kind


def _flat(function: Callable[..., Run]) -> Callable[..., Run]:
    """`function` with the fields of `TrainFlags` in the place of its argument `common`, where it has one."""
    from mimgen.recipes import TrainFlags

    hints = get_type_hints(function)
    if "common" not in hints:
        return function
    parameters = inspect.signature(function).parameters.values()
    own = [each.replace(annotation=hints[each.name]) for each in parameters if each.name != "common"]
    types, kind = get_type_hints(TrainFlags), inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter(each.name, kind, default=each.default, annotation=types[each.name])
        for each in fields(TrainFlags)
    ]
    arguments = [*own, *shared]
    signature = inspect.Signature(arguments, return_annotation=hints["return"])

    def flat(*positional: Any, **named: Any) -> Run:
        try:
            bound = signature.bind(*positional, **named).arguments
        except TypeError as error:
            raise TypeError(f"{function.__name__}() {error}") from None
        common = TrainFlags(**{each.name: bound.pop(each.name) for each in shared if each.name in bound})
        return function(**bound, common=common)

    flat.__name__, flat.__module__ = function.__name__, function.__module__
    flat.__doc__ = _flat_text(inspect.getdoc(function) or "", inspect.getdoc(TrainFlags) or "")
    flat.__annotations__ = {each.name: each.annotation for each in arguments} | {"return": hints["return"]}
    flat.__signature__ = signature  # type: ignore[attr-defined]
    return flat


def _flat_text(text: str, shared: str) -> str:
    """The docstring `text` with the fields that `shared` describes in the place of `common`, but for its own words."""
    own = {match[1]: match[0] for match in DESCRIBED.finditer(text)}
    if "common" not in own:
        return text
    entries = [match[0] for match in DESCRIBED.finditer(shared) if match[1] not in own]
    return text.replace(own["common"], "\n".join(entries))


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
