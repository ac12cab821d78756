"""What benches share: device and number format, seconds of runs that alternate, how sure a ratio of them is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from statistics import median

import torch

from mimgen.errors import UserError

__all__ = ["Ratio", "Timing", "device_and_precision", "interleaved", "timed", "versions"]


def device_and_precision(device: str, precision: str) -> tuple[str, str]:
    """("cpu" or "cuda", "fp32" or "bf16") for flags that may also say "auto".

    Raises:
        UserError: a GPU is asked for where there is none.
    """
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise UserError("no GPU is there: leave out --device, or take --device cpu")
    chosen = ("cuda" if found else "cpu") if device == "auto" else device
    return chosen, ("bf16" if chosen == "cuda" else "fp32") if precision == "auto" else precision


def versions(*packages: str) -> dict[str, str]:
    """Versions of PyTorch and of the packages, "not installed" where one is absent."""
    found = {"torch": str(torch.__version__)}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@dataclass(frozen=True)
class Timing:
    """Seconds of one run, repeated.

    Attributes:
        seconds: of every repeat, in their order.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds of the repeat in the middle."""
        return median(self.seconds)

    def __str__(self) -> str:
        return f"{1000 * self.median:9.1f} ms ({1000 * min(self.seconds):.1f} to {1000 * max(self.seconds):.1f})"


@dataclass(frozen=True)
class Ratio:
    """How many times as long one run takes as another.

    Attributes:
        median: over rounds, each with one repeat of both.
        low: of the rounds.
        high: of the rounds.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, run: Timing, other: Timing) -> Ratio:
        """`run` over `other`, round by round: what else the machine did in a round met both."""
        rounds = [mine / theirs for mine, theirs in zip(run.seconds, other.seconds, strict=True)]
        return cls(median(rounds), min(rounds), max(rounds))

    @property
    def certain(self) -> bool:
        """Whether all rounds agree which of the two is faster."""
        return self.high < 1 or self.low > 1

    def __str__(self) -> str:
        text = f"{self.median:.2f} times ({self.low:.2f} to {self.high:.2f})"
        return text if self.certain else f"{text}: the spread holds 1, so no difference is shown"


def interleaved(repeats: int, *runs: Callable[[], float]) -> list[Timing]:
    """Runs that measure themselves and return seconds; every round has one repeat of each.

    Another load on the machine then meets all, and so does a processor that slows down as it warms.
    """
    rounds: Sequence[list[float]] = [[run() for run in runs] for _ in range(repeats)]
    return [Timing(seconds) for seconds in zip(*rounds, strict=True)]


def timed(repeats: int, *runs: Callable[[], object]) -> list[Timing]:
    """The same for runs whose time is taken here."""

    def clock(run: Callable[[], object]) -> Callable[[], float]:
        def measured() -> float:
            start = time.perf_counter()
            run()
            return time.perf_counter() - start

        return measured

    return interleaved(repeats, *map(clock, runs))
