"""Official releases: their recorded parity cases and the replays that must reproduce them."""

from mimgen.convert.cases import Case, Comparison, load_case, replay, systems

__all__ = ["Case", "Comparison", "load_case", "replay", "systems"]
