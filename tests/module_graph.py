"""Who imports whom inside mimgen, read from the syntax trees: circles, and the users of a module."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]


class ModuleGraph:
    """The modules of a package and the imports between them, those inside functions and for types only too.

    Args:
        folder: of the package.
    """

    def __init__(self, folder: Path) -> None:
        self.files = {_dotted(path, folder.parent): path for path in sorted(folder.rglob("*.py"))}
        self.trees = {module: ast.parse(path.read_text("utf-8")) for module, path in self.files.items()}
        self.packages = {module for module, path in self.files.items() if path.name == "__init__.py"}

    def imported(self, module: str) -> Iterator[tuple[str, str | None]]:
        """Modules that `module` names in its imports, each with the name that it takes from there, if any."""
        for node in ast.walk(self.trees[module]):
            if isinstance(node, ast.Import):
                yield from ((alias.name, None) for alias in node.names if alias.name in self.files)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    if inner in self.files:
                        yield inner, None
                    elif node.module in self.files:
                        yield node.module, alias.name

    def edges(self) -> dict[str, set[str]]:
        """The modules that each module names; the root package, whose lazy doors open everything, names none."""
        roots = {module for module in self.files if "." not in module}
        return {
            module: set() if module in roots else {other for other, _ in self.imported(module)} - {module}
            for module in self.files
        }

    def defined(self, module: str, name: str | None) -> str:
        """The module that defines what `module` gives under `name`: behind a package lies what it re-exports."""
        if module in self.packages and name is not None:
            for other, taken in self.imported(module):
                if taken == name or other.endswith(f".{name}"):
                    return self.defined(other, taken)
        return module

    def users(self) -> dict[str, set[str]]:
        """The modules that use each module, directly or through a package that re-exports it.

        A package that re-exports a module is no user of it.
        """
        found: dict[str, set[str]] = {module: set() for module in self.files}
        for module in set(self.files) - self.packages:
            for other, name in self.imported(module):
                found[self.defined(other, name)].add(module)
        return found


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in edges[module]:
            if other not in index:
                visit(other)
            if other in stack:
                low[module] = min(low[module], low[other])
        if low[module] == index[module]:
            component = stack[stack.index(module) :]
            del stack[-len(component) :]
            if len(component) > 1:
                found.append(sorted(component))

    for module in edges:
        if module not in index:
            visit(module)
    return found


def _dotted(path: Path, above: Path) -> str:
    return ".".join(path.relative_to(above).with_suffix("").parts).removesuffix(".__init__")
