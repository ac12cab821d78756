"""Recorded cases of official implementations, and the replays that must reproduce them.

`python -m tests.parity PATH...` replays case files and folders of them.
"""

from tests.parity.cases import Case, Comparison, load_case, replay, systems

__all__ = ["Case", "Comparison", "load_case", "replay", "systems"]
