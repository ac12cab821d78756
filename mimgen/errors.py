"""Errors that are the user's to mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["UserError", "choose", "did_you_mean", "nearest", "unknown_name"]


class UserError(ValueError):
    """Wrong input from outside; the message names the input and the fix.

    The command line prints the message alone and exits with status 2, without a traceback.
    """


def nearest(word: str, choices: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The choice that is most like `word`, if its likeness (0 to 1) is `cutoff` or more."""
    return next(iter(difflib.get_close_matches(word, list(choices), n=1, cutoff=cutoff)), None)


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """ "; did you mean X?" where a choice is near to `word`, else an empty string."""
    near = nearest(word, choices)
    return f"; did you mean {near}?" if near else ""


def unknown_name(noun: str, word: str, choices: Iterable[str]) -> UserError:
    """The error for a word that is none of `choices`: it names the nearest and lists all."""
    known = list(choices)
    return UserError(f"unknown {noun} {word!r}{did_you_mean(word, known)} (there are: {', '.join(known)})")


def choose(word: str, choices: Iterable[str], noun: str) -> str:
    """`word` if it is one of `choices`; otherwise a UserError with the nearest choice and the list."""
    known = list(choices)
    if word in known:
        return word
    raise unknown_name(noun, word, known)
