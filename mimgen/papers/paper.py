"""The record of one published system, and the walk that collects the records from where they lie."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

__all__ = ["Kind", "Paper", "built"]

Kind = Literal["reconstruct", "align", "image-text", "generate", "use"]

_MIMGEN = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Paper:
    """One published system. Its record `PAPER = Paper(...)` lies in the module that implements it.

    Attributes:
        slug: short name; also the name of its config.
        title: the paper's title.
        arxiv: its arXiv number, "2111.06377".
        kind: reconstruct pixels, features or codes; align with a teacher; join image and text; generate;
            use or study representations.
        cases: recorded runs of the official code that it is compared with.
        config: path of its config below configs/ without ".py"; empty while there is none.
        command: what to type where the system is no training but a use or a study.
        result: one measured figure with its unit and data; empty while there is none.
        code: where the record was found, relative to the repository; filled in by `built`.
    """

    slug: str
    title: str
    arxiv: str
    kind: Kind
    cases: tuple[str, ...] = ()
    config: str = ""
    command: str = ""
    result: str = ""
    code: str = ""


def built() -> tuple[Paper, ...]:
    """The systems that can be run, in the order of their slugs.

    Returns:
        Every `PAPER` of the package with `code` set: a module ("mimgen/methods/mae.py"), or the folder of an
        `__init__.py` ("mimgen/methods/hpm").

    Raises:
        ValueError: two records carry one slug.
    """
    papers = sorted(_records(), key=lambda paper: paper.slug)
    for one, other in itertools.pairwise(papers):
        if one.slug == other.slug:
            raise ValueError(f"two records of {one.slug}: {one.code} and {other.code}")
    return tuple(papers)


def _records() -> Iterator[Paper]:
    for path in _MIMGEN.rglob("*.py"):
        text = path.read_text("utf-8")
        # Parsing all of the package takes a second; only these few files are worth it.
        if "\nPAPER = Paper(" not in text:
            continue
        position = path.parent if path.name == "__init__.py" else path
        yield replace(_literal(ast.parse(text)), code=position.relative_to(_MIMGEN.parent).as_posix())


def _literal(module: ast.Module) -> Paper:
    """The record as written: importing the module would import torch, and `mimgen systems` should be quick."""
    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="PAPER")], value=ast.Call(keywords=words)):
                return Paper(**{word.arg or "": ast.literal_eval(word.value) for word in words})
    raise ValueError("PAPER must be assigned at the top level of a module")
