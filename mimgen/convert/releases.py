"""The official releases that can be converted."""

from __future__ import annotations

from mimgen.convert.release import Release
from mimgen.errors import UserError

__all__ = ["find_release", "releases"]


def releases() -> dict[str, Release]:
    """Every release by its name, in the order in which they are listed."""
    # Imported here because each brings the classes that it fills.
    from mimgen.convert import beitv2_tokenizer, kl16, llamagen, meissonic, mergevq, open_magvit2, titok

    return {
        "meissonic": meissonic.RELEASE,
        "open_magvit2": open_magvit2.RELEASE,
        "mergevq": mergevq.RELEASE,
        "llamagen": llamagen.RELEASE,
        "titok": titok.RELEASE,
        "beitv2_tokenizer": beitv2_tokenizer.RELEASE,
        "kl16": kl16.RELEASE,
    }


def find_release(name: str) -> Release:
    """The release called `name`; a hyphen is as good as an underscore.

    Raises:
        UserError: there is none; the message lists them.
    """
    known, name = releases(), name.replace("-", "_")
    if name not in known:
        raise UserError(f"unknown release {name!r} (there are: {', '.join(known)})")
    return known[name]
