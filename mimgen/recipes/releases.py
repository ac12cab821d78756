"""The official releases that can be converted."""

from __future__ import annotations

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.ops.discover import modules_below

__all__ = ["releases"]


def releases() -> dict[str, StateDictAdapter]:
    """Every release by its name: each `ADAPTER` that a module of a method, tokenizer or generator defines."""
    found: dict[str, StateDictAdapter] = {}
    for package in ("mimgen.generators", "mimgen.tokenizers", "mimgen.methods"):
        for module in modules_below(package, "adapter"):
            adapter: StateDictAdapter = module.ADAPTER
            found[adapter.name] = adapter
    return found
