"""The engine of all comparisons: arms x seeds, cached rows, tables, outcomes, one page."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimgen.configs import load_package
from mimgen.errors import UserError
from mimgen.evaluation import provenance, write_result
from mimgen.files import write_atomically
from mimgen.recipes.compare.outcomes import Hypothesis, Outcome, Paired, Results, Row
from mimgen.report.curves import Curve
from mimgen.report.page import Scores
from mimgen.report.result import write_outcome
from mimgen.report.run_folder import check_same_settings
from mimgen.report.sections import Section
from mimgen.report.tables import markdown

__all__ = ["Arm", "Compare", "Finished", "Part", "cached_row"]

INTERRUPTED = 130  # exit status of a process that a signal ended

# (folder of this arm and seed, seed, the rows of earlier parts by name) to JSON; a function or record that pickles
Part = Callable[[Path, int, Mapping[str, Row]], Row]


@dataclass(frozen=True)
class Arm:
    """One thing that is compared: a system, an ablation, a baseline or a control.

    Attributes:
        name: in tables and hypotheses.
        parts: what is computed, in this order, each a cached row of its own. Without the first one, which usually
            trains, the others are not tried; any other may fail alone.
        key: name of its files; by default made from the name.
        seeded: false for what no seed changes, such as raw pixels: it is computed once.
    """

    name: str
    parts: Mapping[str, Part]
    key: str = ""
    seeded: bool = True

    @property
    def file(self) -> str:
        """The key, fit for a file name."""
        return "".join(letter if letter.isalnum() or letter in "-.=," else "_" for letter in self.key or self.name)


@dataclass(frozen=True)
class Finished:
    """What a comparison leaves: the path of result.json, the text of result.md, the rows that failed."""

    path: Path
    text: str
    failures: tuple[str, ...]


def _no_curves(results: Results) -> Sequence[Curve]:
    return ()


@dataclass(frozen=True)
class Compare:
    """Arms compared over seeds with the same budget; hypotheses tested.

    Attributes:
        name: of the comparison.
        title: heading of the result.
        arms: what is compared, controls among them.
        seeds: of weights, data order and probes; every seed is a row of every arm.
        protocol: everything in which two rows must agree to be compared; a folder holds one protocol.
        sections: from the finished rows to the tables.
        hypotheses: tested on the finished rows.
        curves: from the finished rows to plots.
        lead: the sentence under the heading.
    """

    name: str
    title: str
    arms: Sequence[Arm]
    seeds: Sequence[int]
    protocol: Mapping[str, Any]
    sections: Callable[[Results], Sequence[Section]]
    hypotheses: Sequence[Hypothesis | Paired] = ()
    curves: Callable[[Results], Sequence[Curve]] = _no_curves
    lead: str = "Every arm has the same budget; values are means (lowest to highest over seeds)."

    def __post_init__(self) -> None:
        files = [arm.file for arm in self.arms]
        twice = sorted({file for file in files if files.count(file) > 1})
        if twice or not files or not self.seeds:
            raise UserError(f"a comparison needs seeds and arms with different names; repeated: {', '.join(twice)}")

    def run(self, out: Path, progress: Callable[[str], None] = lambda line: None) -> Finished:
        """Compute the rows that are missing, write result.json, result.html and result.md.

        Args:
            out: the folder; the same comparison in the same folder resumes where it stopped.
            progress: called with a line for each arm and seed before it is computed.

        Raises:
            UserError: the folder holds a comparison with another protocol.
            KeyboardInterrupt: a row was interrupted; a rerun resumes.
        """
        check_same_settings(out, {"compare": self.name, **self.protocol}, "comparison")
        places = [(arm, seed) for place, seed in enumerate(self.seeds) for arm in self.arms if arm.seeded or not place]
        found: dict[str, list[Row]] = {arm.name: [] for arm in self.arms}
        for number, (arm, seed) in enumerate(places):
            progress(f"[{number + 1}/{len(places)}] {arm.name}, seed {seed}")
            found[arm.name].append(_arm_row(arm, seed, out))
        return self._report(out, found)

    def _report(self, out: Path, found: Mapping[str, Sequence[Row]]) -> Finished:
        failures = _failures(found)
        done = self._usable(found)
        sections, outcomes = self.sections(done), [one for each in self.hypotheses for one in each.test(done)]
        tables = [(each.title, each.text, *each.cells()) for each in sections]
        if outcomes:
            tables.insert(0, ("Hypotheses", _RULE, _HEADS, [_outcome_cells(one) for one in outcomes]))
        parts = [f"# {self.title}", self.lead]
        for title, text, heads, lines in tables:
            table = markdown(heads, lines) if lines else "No row is finished."
            parts += [part for part in (f"## {title}", text, table) if part]
        parts += ["\n".join(f"- {line}" for line in (*failures, *_machine(found)))]
        result = {
            "measure": self.name,
            "protocol": dict(self.protocol),
            "seeds": list(self.seeds),
            "scores": {section.title: section.scores() for section in sections},
            "outcomes": [one.as_dict() for one in outcomes],
            "failures": failures,
            "rows": {arm: list(rows) for arm, rows in found.items()},
        }
        page = [Scores(title, text, heads, lines, ours=-1) for title, text, heads, lines in tables]
        path = write_outcome(out / "result.json", result, page, self.curves(done), self.title, self.lead)
        text = "\n\n".join(part for part in parts if part) + "\n"
        write_atomically(out / "result.md", text)
        return Finished(path, text, tuple(failures))

    def _usable(self, found: Mapping[str, Sequence[Row]]) -> Results:
        """Rows without their failed parts; what no seed changes stands beside every seed."""
        fixed = {arm.name for arm in self.arms if not arm.seeded}
        done: dict[str, list[Row]] = {}
        for name, rows in found.items():
            kept = [{key: part for key, part in row.items() if not _failed(part)} for row in rows]
            kept = [row for row in kept if len(row) > 1]  # more than its seed
            done[name] = [{**kept[0], "seed": seed} for seed in self.seeds] if name in fixed and kept else kept
        return done


_HEADS = ["hypothesis", "difference", "mean", "95 % interval", "seeds", "outcome"]
_RULE = (
    "Differences are paired by seed, positive in favour of the hypothesis. Supported: the whole interval lies above "
    "the threshold (0, or minus the margin of an 'as good as'); refuted: below it; open: neither, or a single seed. "
    "The interval covers chance between seeds and, where each test item is known, between test items."
)


def _outcome_cells(one: Outcome) -> list[str]:
    mean = "-" if one.mean is None else f"{one.mean:+.4f}"
    interval = "-" if one.low is None or one.high is None else f"{one.low:+.4f} to {one.high:+.4f}"
    above = f", threshold {one.threshold:+g}" if one.threshold else ""
    note = f" ({one.note})" if one.note else ""
    return [one.hypothesis, one.contrast + above, mean, interval, str(len(one.values)), one.outcome + note]


def _arm_row(arm: Arm, seed: int, out: Path) -> Row:
    """The parts of an arm for one seed, as far as they can be computed."""
    folder = out / "runs" / f"{arm.file}-seed{seed}"
    row: Row = {}
    for place, (name, part) in enumerate(arm.parts.items()):
        path = out / "rows" / f"{arm.file}-seed{seed}-{name}.json"
        row[name] = cached_row(path, part, folder, seed, dict(row))
        if not place and _failed(row[name]):
            break
    return {"seed": seed, **row}


def _failed(part: Any) -> bool:
    return isinstance(part, Mapping) and "failed" in part


def _failures(found: Mapping[str, Sequence[Row]]) -> list[str]:
    """Every part that failed, a line each."""
    return [
        f"{arm}, seed {row['seed']}, {name} failed: {part['failed']}"
        for arm, rows in found.items() for row in rows for name, part in row.items() if _failed(part)
    ]  # fmt: skip


def _machine(found: Mapping[str, Sequence[Row]]) -> list[str]:
    """Where the rows were computed, for the notes; rows of several machines name each."""
    parts = [part for rows in found.values() for row in rows for part in row.values() if isinstance(part, Mapping)]
    machines = [part["made_by"]["machine"] for part in parts if "made_by" in part]
    lines = [
        f"Measured on {each['cpu']}, threads: {each['threads']}, GPUs: {', '.join(each['gpus']) or 'none'}."
        for each in machines
    ]
    return list(dict.fromkeys(lines))


def cached_row(path: Path, compute: Callable[..., Row], *arguments: Any) -> Row:
    """The row in the JSON file `path`; where it is missing, compute(*arguments) makes it in a new process.

    A process of its own frees all memory at its end, gives no row the caches of another and keeps one failure from
    taking the others along. A row that fails is returned as {"failed": message} and not kept, so that a rerun tries
    it again.

    Args:
        path: the row's file.
        compute: a function, method or record that pickles.
        arguments: what pickles.

    Raises:
        KeyboardInterrupt: the process was interrupted.
    """
    if path.is_file():
        row: Row = json.loads(path.read_text(encoding="utf-8"))
        return row
    # spawned, not forked: a fork after the first tensor operation would inherit locked thread pools
    payload = pickle.dumps((compute, arguments))
    process = multiprocessing.get_context("spawn").Process(target=_compute, args=(path, payload))
    process.start()
    try:
        process.join()
    except KeyboardInterrupt:
        process.join()  # it received the same signal and is saving a checkpoint
        raise
    if process.exitcode in (INTERRUPTED, -signal.SIGINT):
        raise KeyboardInterrupt
    if path.is_file():
        return cached_row(path, compute, *arguments)
    error = _error(path)
    reason = error.read_text(encoding="utf-8").strip() if error.is_file() else f"exit status {process.exitcode}"
    return {"failed": reason}


def _compute(path: Path, payload: bytes) -> None:
    """Write a row with its provenance, or the reason why there is none. Runs in the new process."""
    _error(path).unlink(missing_ok=True)
    try:
        # what was pickled may be defined in the package of configs, which a source tree has under another name
        load_package()
        compute, arguments = pickle.loads(payload)  # written by this process's parent, never read from a file
        row = compute(*arguments)

        write_result(path, {**row, "made_by": provenance()})
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        if not isinstance(error, UserError):
            traceback.print_exc()
        _error(path).parent.mkdir(parents=True, exist_ok=True)
        _error(path).write_text(f"{type(error).__name__}: {error}\n", encoding="utf-8")
        sys.exit(1)


def _error(path: Path) -> Path:
    return path.with_suffix(".error.txt")
