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
from typing import Any, get_type_hints

from mimgen.errors import UserError, unknown_name

__all__ = [
    "arguments_of", "experiment", "load_package", "names", "parse_integers", "parse_words", "source", "summary",
    "training",
]  # fmt: skip

PACKAGE = "mimgen_configs"
COMPARE = "compare"  # the folder whose configs compare many runs
# an argument's description in a docstring without its indent, and the lines that continue with it
DESCRIBED = re.compile(r"^    (\w+):.*(?:\n {8}.*)*", re.MULTILINE)


def names(*folders: str) -> dict[str, str]:
    """Module of every config by its name; imports no config.

    Args:
        folders: those of configs/ to look into; by default all whose configs make one run, which leaves out compare.
    """
    root = load_package()
    found = {}
    for folder in pkgutil.iter_modules(root.__path__):
        if not folder.ispkg or (folder.name not in folders if folders else folder.name == COMPARE):
            continue
        package = importlib.import_module(f"{PACKAGE}.{folder.name}")
        for module in pkgutil.iter_modules(package.__path__):
            found[module.name] = f"{PACKAGE}.{folder.name}.{module.name}"
    return found


def experiment(name: str, *folders: str) -> Callable[..., Any]:
    """The function `experiment` of the config `name`; its arguments are the command-line flags.

    Flags that every training has, which the config itself takes as one `TrainFlags`, are arguments like its own.

    Args:
        name: of the config.
        folders: where it is looked for; see `names`.

    Raises:
        UserError: there is no such config; the message names the nearest.
    """
    known = names(*folders)
    if name not in known:
        raise unknown_name("config", name, known)
    return _flat(importlib.import_module(known[name]).experiment)


def training(name: str, **arguments: Any) -> Any:
    """The run of the config `name` with `arguments`.

    Raises:
        UserError: there is no such config, or it computes its result without training.
    """
    run = experiment(name)(**arguments)
    if not hasattr(run, "settings"):  # of the training loop
        raise UserError(f"{name} is computed, not trained; choose a config that is trained, such as vqgan")
    return run


def source(name: str) -> str:
    """The text of a config's file."""
    return inspect.getsource(importlib.import_module(names()[name]))


def summary(name: str, *folders: str) -> str:
    """First line of a config's docstring, read without importing it."""
    spec = importlib.util.find_spec(names(*folders)[name])
    text = Path(spec.origin).read_text("utf-8") if spec is not None and spec.origin else ""
    return text.split('"""')[1].strip().splitlines()[0] if text.count('"""') > 1 else ""


def arguments_of(function: Callable[..., Any], out: str = "runs/<config>-<size>") -> type:
    """A dataclass with the arguments of `function` and the folder `out`, for the command line.

    Args:
        function: of a config.
        out: the default folder, for the help text.
    """
    hints = get_type_hints(function)
    fields: list[tuple[str, Any, Any]] = []
    for parameter in inspect.signature(function).parameters.values():
        default = MISSING if parameter.default is inspect.Parameter.empty else parameter.default
        fields.append((parameter.name, hints[parameter.name], field(default=default)))
    fields.append(("out", Path | None, field(default=None)))
    kind = make_dataclass("Arguments", fields)
    kind.__doc__ = (
        f"{inspect.getdoc(function)}\n    out: the run folder, by default {out}; "
        "the same command with the same folder resumes where it stopped.\n"
    )
    return kind


def parse_words(text: str, flag: str) -> list[str]:
    """ "a, b" as words without repetitions.

    Raises:
        UserError: there is none.
    """
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise UserError(f"--{flag} is empty; give names with commas between")
    return words


def parse_integers(text: str, flag: str) -> list[int]:
    """ "0,1,2" as whole numbers without repetitions.

    Raises:
        UserError: anything else, or nothing.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise UserError(f"--{flag} {text!r}: give whole numbers with commas between, for example 0,1,2")
    return list(dict.fromkeys(map(int, parts)))


def _flat(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with the fields of `TrainFlags` in the place of its argument `common`, where it has one.

    A run that it returns records the arguments that differ from the defaults of the signature.
    """
    hints = get_type_hints(function)
    shared_flags = hints.get("common")
    parameters = inspect.signature(function).parameters.values()
    own = [each.replace(annotation=hints[each.name]) for each in parameters if each.name != "common"]
    shared = [] if shared_flags is None else _flags(shared_flags)
    arguments = [*own, *shared]
    signature = inspect.Signature(arguments, return_annotation=hints["return"])

    def flat(*positional: Any, **named: Any) -> Any:
        try:
            bound = signature.bind(*positional, **named).arguments
        except TypeError as error:
            raise TypeError(f"{function.__name__}() {error}") from None
        changed = {name: value for name, value in bound.items() if value != signature.parameters[name].default}
        if shared_flags is not None:
            bound["common"] = shared_flags(**{each.name: bound.pop(each.name) for each in shared if each.name in bound})
        run = function(**bound)
        return run.with_options(changed) if hasattr(run, "with_options") else run

    flat.__name__, flat.__module__ = function.__name__, function.__module__
    shared_text = "" if shared_flags is None else inspect.getdoc(shared_flags) or ""
    flat.__doc__ = _flat_text(inspect.getdoc(function) or "", shared_text)
    flat.__annotations__ = {each.name: each.annotation for each in arguments} | {"return": hints["return"]}
    flat.__signature__ = signature  # type: ignore[attr-defined]
    return flat


def _flags(kind: type) -> list[inspect.Parameter]:
    """The fields of a dataclass of flags as keyword arguments."""
    types = get_type_hints(kind)
    return [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=types[each.name])
        for each in fields(kind)
    ]


def _flat_text(text: str, shared: str) -> str:
    """The docstring `text` with the fields that `shared` describes in the place of `common`, but for its own words."""
    own = {match[1]: match[0] for match in DESCRIBED.finditer(text)}
    if "common" not in own:
        return text
    entries = [match[0] for match in DESCRIBED.finditer(shared) if match[1] not in own]
    return text.replace(own["common"], "\n".join(entries))


def load_package() -> ModuleType:
    """The package of configs: installed, or the folder configs/ beside the sources."""
    try:
        return importlib.import_module(PACKAGE)
    except ModuleNotFoundError:
        pass
    folder = Path(__file__).resolve().parents[1] / "configs"
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None or not folder.is_dir():
        raise UserError("the named configs are missing from this installation; install mimgen again")
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)
    return module
