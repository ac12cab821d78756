"""Finding classes by what they are, wherever in some packages they are defined."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from types import ModuleType


def modules_below(package: str, start: str = "") -> Iterator[ModuleType]:
    """A package and every module below it whose own name starts with `start`, imported, in alphabetical order."""
    root = importlib.import_module(package)
    if not start:
        yield root
    for found in pkgutil.walk_packages(root.__path__, f"{package}."):
        if found.name.rpartition(".")[2].startswith(start):
            yield importlib.import_module(found.name)


def classes_below(*packages: str, wanted: Callable[[type], bool]) -> dict[str, type]:
    """Public classes that are defined in these packages and `wanted`, by name, in alphabetical order.

    Raises:
        ValueError: two classes of one name.
    """
    found: dict[str, type] = {}
    for module in (module for package in packages for module in modules_below(package)):
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if name.startswith("_") or kind.__module__ != module.__name__ or not wanted(kind):
                continue
            if name in found:
                raise ValueError(f"{name} is defined in {found[name].__module__} and in {module.__name__}")
            found[name] = kind
    return dict(sorted(found.items()))


def is_masking(kind: type) -> bool:
    """Whether a class is a masking strategy: a call that is annotated to return masks."""
    annotation = str(getattr(kind.__call__, "__annotations__", {}).get("return", ""))
    # "Mask" as a word: a `ProjectionMask` covers every patch in part, and has no masked ones to count
    return re.search(r"\bMask\b", annotation) is not None and not inspect.isabstract(kind)
