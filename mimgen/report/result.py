"""What every measuring command leaves behind: a JSON file for programs and a page for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimgen.errors import UserError
from mimgen.report.curves import Curve
from mimgen.report.page import Gallery, Number, Report, Scores, Step, render

__all__ = ["Score", "flat_scores", "page_of", "read_outcome", "write_outcome"]

_HEADLINES = 6  # more numbers than this are a table, not headlines
_LONGEST = 12  # a longer list is shown on the page by its length; the JSON holds it whole


@dataclass(frozen=True)
class Score:
    """One measured number.

    Attributes:
        value: the number, or the mean where it was measured several times.
        low: lower end of its interval, where one is known.
        high: upper end.
        count: how many measurements the mean is of, 1 for a plain number.
    """

    value: float
    low: float | None = None
    high: float | None = None
    count: int = 1

    def __str__(self) -> str:
        return f"{self.value:.4g}"

    @property
    def interval(self) -> str:
        """ "0.81 to 0.84", or an empty string where there is none."""
        return "" if self.low is None or self.high is None else f"{self.low:.4g} to {self.high:.4g}"


def write_outcome(
    out: str | Path,
    result: Mapping[str, Any],
    sections: Sequence[Gallery | Scores] = (),
    curves: Sequence[Curve] = (),
    title: str = "",
    lead: str = "",
    next_steps: Sequence[Step] = (),
) -> Path:
    """Write `result` with its provenance to `out` (JSON), and beside it a self-contained page (.html).

    Args:
        out: the JSON file; its folder is made. The page has the same name with the suffix .html.
        result: "measure" (what was measured), "protocol" (everything in which two results must agree to
            be comparable) and "scores" (names to numbers or to mean, low, high and values; they may be
            nested), and any facts beside them, such as "model".
        sections: galleries and tables of the page, after its headline numbers.
        curves: plots of the page.
        title: heading of the page; by default made from the measure.
        lead: the sentence under it.
        next_steps: commands worth trying next.

    Returns:
        The path of the JSON file.

    Raises:
        UserError: `out` cannot be a result's file.
        ValueError: the result lacks one of the three fields.
    """
    from mimgen.evaluation import provenance, write_result
    from mimgen.files import write_atomically

    missing = [name for name in ("measure", "protocol", "scores") if name not in result]
    if missing:
        raise ValueError(f"a result needs measure, protocol and scores; this one lacks {', '.join(missing)}")
    target = Path(out).expanduser()
    if target.suffix in (".html", ".htm") or target.is_dir():
        raise UserError(f"--out {out}: give the name of a .json file; the page is written beside it as .html")
    written = write_result(target, provenance(**result))
    # read back, so that page and file cannot differ
    page = page_of(json.loads(written.read_text("utf-8")), sections, curves, title, lead, next_steps)
    write_atomically(target.with_suffix(".html"), render(page))
    return written


def page_of(
    result: Mapping[str, Any],
    sections: Sequence[Gallery | Scores] = (),
    curves: Sequence[Curve] = (),
    title: str = "",
    lead: str = "",
    next_steps: Sequence[Step] = (),
) -> Report:
    """The page of a result as `write_outcome` wrote it: headline numbers, sections, plots, and all that made it."""
    scores = flat_scores(result["scores"])
    few = len(scores) <= _HEADLINES
    numbers = [Number(name, str(score), score.interval) for name, score in scores.items()] if few else []
    table = [] if few or sections else [_table(scores)]
    rest = {name: value for name, value in result.items() if name not in ("scores", "protocol")}
    return Report(
        title=title or f"{result['measure']}: {result.get('model', 'result')}",
        lead=lead or "What was measured, how, and by what.",
        numbers=numbers,
        sections=[*table, *sections],
        curves=curves,
        curves_title="Curves",
        next_steps=next_steps,
        provenance={"protocol": _shown(result["protocol"]), **_shown(rest)},
    )


def read_outcome(path: str | Path) -> dict[str, Any]:
    """Read a result that `write_outcome` wrote.

    Raises:
        UserError: no such file, not JSON, or not a result with scores.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"no result at {file}; pass the .json file that a command wrote with --out")
    try:
        result = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{file} is not a result: it cannot be read as JSON ({error})") from None
    if not isinstance(result, dict) or not isinstance(result.get("scores"), dict):
        raise UserError(
            f"{file} holds no scores; pass the .json file that a measuring command wrote with --out"
        )
    return result


def flat_scores(scores: Mapping[str, Any], prefix: str = "") -> dict[str, Score]:
    """Scores by their full name, such as "group / knn"; what is not a number is left out.

    Args:
        scores: names to numbers, to mean, low, high and values, or to further such mappings.
        prefix: put before every name.
    """
    return dict(_walk(scores, prefix))


def _walk(scores: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Score]]:
    for name, value in scores.items():
        if isinstance(value, Mapping) and not _is_number(value.get("mean")):
            yield from _walk(value, f"{prefix}{name} / ")
        elif isinstance(value, Mapping):
            low, high = (float(value[end]) if _is_number(value.get(end)) else None for end in ("low", "high"))
            yield f"{prefix}{name}", Score(float(value["mean"]), low, high, len(value.get("values") or [0]))
        elif _is_number(value):
            yield f"{prefix}{name}", Score(float(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _table(scores: Mapping[str, Score]) -> Scores:
    rows = [(name, str(score), score.interval, str(score.count)) for name, score in scores.items()]
    return Scores("Scores", "", ("score", "value", "interval", "measurements"), rows, ours=-1)


def _shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as the page's last table shows them: long lists by their length."""
    return {
        name: _shown(value)
        if isinstance(value, Mapping)
        else f"{len(value)} values, in the JSON file"
        if isinstance(value, list) and len(value) > _LONGEST
        else value
        for name, value in values.items()
    }
