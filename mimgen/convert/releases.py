"""The official releases that can be converted."""

from __future__ import annotations

from mimgen.convert.release import Release

__all__ = ["releases"]


def releases() -> dict[str, Release]:
    """Every release by its name, in the order in which they are listed."""
    # Imported here because each brings the classes that it fills.
    from mimgen.convert import beitv2_tokenizer, kl16, llamagen, mae, meissonic, mergevq, open_magvit2, titok

    modules = (meissonic, open_magvit2, mergevq, llamagen, titok, beitv2_tokenizer, kl16, mae)
    return {module.RELEASE.name: module.RELEASE for module in modules}
