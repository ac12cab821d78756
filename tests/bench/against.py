"""`python -m tests.bench against OLD_CHECKOUT`: this checkout of mimgen beside another one, such as an earlier commit.

Each checkout runs in processes of its own, with its own code and configs. Rounds alternate between the two.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import tyro

from mimgen.cli.options import parse
from mimgen.errors import UserError, choose
from tests.bench.measure import Ratio, Timing, interleaved

__all__ = ["ROWS", "Checkout", "Worker", "bench", "main"]

HERE = Path(__file__).parents[2]
COLD = "cold"
# what the worker measures, by the name of the row
WARM = {"mae": "a training step of MAE", "simmim": "a training step of SimMIM", "sample": "sampling an image"}
ROWS = {COLD: 'mimgen generate "red apple", from its start to its end', **WARM}


@dataclass(frozen=True)
class Options:
    """Time this checkout of mimgen beside another one.

    Attributes:
        checkout: folder of the other one, which holds mimgen/, configs/ and pyproject.toml.
        rows: with commas: cold (the command that generates an image), mae and simmim (a training step of emoji64 with
            64 images), sample (the bundled pipeline once loaded).
        repeats: rounds, each with one run of both.
        out: also write the result to this JSON file, and a page beside it.
    """

    checkout: tyro.conf.Positional[Path]
    rows: str = ",".join(ROWS)
    repeats: int = 5
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Run `python -m tests.bench against`."""
    options = parse(Options, arguments, "python -m tests.bench against")
    timings: dict[str, tuple[Timing, Timing]] = {}
    for name, ours, theirs in bench(options.checkout, options.rows, options.repeats):
        if not timings:
            print(f"  {'':8} {'this checkout':>34} {'the other':>34}   this over the other")
        timings[name] = ours, theirs
        print(f"  {name:8} {ours!s:>34} {theirs!s:>34}   {Ratio.of(ours, theirs)}", flush=True)
    if options.out is not None:
        from mimgen.report.result import write_outcome

        scores = {
            name: {"seconds": ours.seconds, "other_seconds": theirs.seconds, "ratio": asdict(Ratio.of(ours, theirs))}
            for name, (ours, theirs) in timings.items()
        }
        protocol = {"rows": options.rows, "repeats": options.repeats}
        result = {"measure": "bench against", "protocol": protocol, "scores": scores}
        write_outcome(options.out, result, title="Speed beside another checkout")
        print(f"written to {options.out}")
    return 0


def bench(
    other: Path, rows: str = ",".join(ROWS), repeats: int = 5, this: Path = HERE
) -> Iterator[tuple[str, Timing, Timing]]:
    """Each row's name, its times in this checkout and in the other one; arguments as in `Options`.

    Raises:
        UserError: an unknown row, no repeats, or a folder that is no checkout.
    """
    if repeats < 1:
        raise UserError(f"{repeats} repeats: give at least 1")
    names = [choose(name, list(ROWS), "row") for name in rows.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        both = [Checkout(root, Path(folder) / str(number)) for number, root in enumerate((this, other))]
        for name in names:
            yield name, *_row(name, both, repeats)


def _row(name: str, checkouts: list[Checkout], repeats: int) -> tuple[Timing, Timing]:
    print(f"{name}: {ROWS[name]}", file=sys.stderr, flush=True)
    if name == COLD:
        runs: list[Callable[[], float]] = [checkout.generate for checkout in checkouts]
        for run in runs:
            run()  # fills the caches of bytecode and of files
        ours, theirs = interleaved(repeats, *runs)
        return ours, theirs
    with Worker(checkouts[0], name) as mine, Worker(checkouts[1], name) as other:
        ours, theirs = interleaved(repeats, mine.measure, other.measure)
    return ours, theirs


@dataclass(frozen=True)
class Checkout:
    """A folder that holds mimgen.

    Attributes:
        root: the folder.
        scratch: a folder for what is written.

    Raises:
        UserError: there is no mimgen.
    """

    root: Path
    scratch: Path

    def __post_init__(self) -> None:
        if not all((self.root / name).exists() for name in ("mimgen", "configs", "pyproject.toml")):
            raise UserError(f"{self.root} is no checkout of mimgen: it needs mimgen/, configs/ and pyproject.toml")
        self.scratch.mkdir(parents=True)
        # an installed mimgen finds its configs as this package
        (self.scratch / "mimgen_configs").symlink_to((self.root / "configs").resolve())

    @property
    def environment(self) -> dict[str, str]:
        """That of this process, where `mimgen` is this checkout's."""
        return {**os.environ, "PYTHONPATH": os.pathsep.join([str(self.root.resolve()), str(self.scratch)])}

    def generate(self) -> float:
        """Seconds of the command that generates an image.

        Raises:
            UserError: it failed.
        """
        script = tomllib.loads((self.root / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]["mimgen"]
        module, function = script.split(":")
        code = f"import sys; from {module} import {function}; sys.exit({function}())"
        command = [sys.executable, "-c", code, "generate", "red apple", "--out", str(self.scratch / "x.png")]
        start = time.perf_counter()
        done = subprocess.run(command, env=self.environment, cwd=self.scratch, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if done.returncode or not (self.scratch / "x.png").is_file():
            raise UserError(f"mimgen generate failed in {self.root}: {(done.stderr or done.stdout).strip()[-500:]}")
        return seconds


class Worker:
    """A process that repeats one run of a checkout whenever it is asked to.

    Args:
        checkout: whose code it runs.
        row: one of `WARM`.
    """

    def __init__(self, checkout: Checkout, row: str) -> None:
        self.root = checkout.root
        command = [sys.executable, str(Path(__file__).with_name("against_worker.py")), row]
        self._process: subprocess.Popen[str] = subprocess.Popen(
            command,
            env=checkout.environment,
            cwd=checkout.scratch,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # the end of its input ends it
        self._process.communicate()

    def measure(self) -> float:
        """Seconds of one run.

        Raises:
            UserError: the process ended without an answer; its error is on stderr.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self._process.stdout.readline()
        if not answer:
            raise UserError(f"{self.root} cannot run this row: its process ended with an error, see above")
        return float(answer)
