"""mimgen: masked image generation and masked image representation learning in one house."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mimgen.pretrained import load_pretrained

__all__ = ["__version__", "load_pretrained"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`load_pretrained` when it is first asked for: it brings torch along, which the command line does without."""
    if name == "load_pretrained":
        from mimgen.pretrained import load_pretrained

        return load_pretrained
    raise AttributeError(f"module 'mimgen' has no attribute {name!r}")
