"""From words on the command line to a typed record, with errors that name the fix."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

from mimgen import configs
from mimgen.configs import parse_integers, parse_words
from mimgen.errors import UserError, did_you_mean

__all__ = ["parse", "parse_config", "parse_integers", "parse_words"]

Record = TypeVar("Record")


def parse(kind: type[Record], arguments: Sequence[str], program: str) -> Record:
    """Fill the dataclass `kind` from the flags in `arguments`.

    Args:
        kind: a dataclass; its fields are the flags, its docstring the help text.
        arguments: the words after the command.
        program: what the user typed before them, for help and errors.

    Raises:
        UserError: unknown flag, missing value or a value of the wrong type.
    """
    import tyro

    if not {"-h", "--help"} & set(arguments):
        _check_flags(kind, arguments, program)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(kind, args=list(arguments), prog=program)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(f"{_plain(complaint.getvalue())} (see {program} --help)") from None


def parse_config(name: str, arguments: Sequence[str], program: str) -> dict[str, Any]:
    """The arguments of the config `name` from its flags; `out` is among them.

    Raises:
        UserError: no such config, or as of `parse`.
    """
    kind = configs.arguments_of(configs.experiment(name))
    options: Any = parse(kind, arguments, program)
    return {field.name: getattr(options, field.name) for field in fields(kind)}


def _check_flags(kind: type, arguments: Sequence[str], program: str) -> None:
    """Refuse flags that `kind` does not have, with the nearest one that it has."""
    from tyro.conf import Positional

    hints = get_type_hints(kind, include_extras=True)
    markers = getattr(Positional[int], "__metadata__", ())
    named = [
        # a flag may have another name than the field, such as --class
        next((each.name for each in getattr(hint, "__metadata__", ()) if getattr(each, "name", None)), name)
        for name, hint in hints.items()
        if getattr(hint, "__metadata__", None) != markers
    ]
    names = [name.replace("_", "-") for name in named]
    known = {f"--{name}" for name in names} | {f"--no-{name}" for name in names}
    for word in arguments:
        flag = word.split("=", 1)[0].replace("_", "-")
        if flag.startswith("--") and len(flag) > 2 and flag not in known:
            flags = [f"--{name}" for name in names]
            raise UserError(
                f"unknown flag {flag} of `{program}`{did_you_mean(flag, flags)} (there are: {', '.join(flags)})"
            )


def _plain(text: str) -> str:
    """The first paragraph of tyro's framed message, as one line."""
    words = []
    for line in text.splitlines()[1:]:
        inner = line.strip("│╭╮╰╯─ \n")
        if not inner or inner.startswith("For full helptext"):
            break
        if set(inner) != {"-"}:  # a rule between paragraphs
            words.append(inner)
    text = " ".join(words).replace(" .", ".").rstrip(".") or "the arguments could not be read"
    # tyro's words before what a dataclass itself refuses
    return re.sub(r"^Error parsing \w+: ", "", text)
