"""The table that `python -m tests.bench generate` prints."""

from __future__ import annotations

from typing import Any

from mimgen.report.tables import markdown

__all__ = ["report"]

_HEADS = ("row", "s/image", "tokens/s", "MiB", "GFLOP", "speed", "same tokens")
_SCORE = ("R@1", "change", "R@5", "change")


def report(measured: dict[str, Any]) -> str:
    """The measurements of `bench` as Markdown, a table a size."""
    how = ", ".join(measured[name] for name in ("device", "precision"))
    lines = [
        f"an image, {how}, {measured['threads']} threads; MiB on top of the weights, speed against the plain loop"
    ]
    for name, size in measured["sizes"].items():
        rows = size["rows"]
        scored = any("composition" in row for row in rows.values())
        lines.append(f"\n{name}: {size['parameters'] / 1e6:.1f} million parameters, {size['tokens']} tokens\n")
        heads = (*_HEADS, *(_SCORE if scored else ()))
        lines.append(markdown(heads, [_cells(key, row, scored) for key, row in rows.items()]))
    rows = [row for size in measured["sizes"].values() for row in size["rows"].values()]
    if compared := [row["compared_steps"] for row in rows if "compared_steps" in row]:
        lines.append(
            f"\nsame tokens: as the plain loop, in {max(compared)} steps with weights in double precision; in brackets "
            f"the share in {measured['precision']} over all steps, where roundings add up"
        )
    scores = [row["composition"] for row in rows if "composition" in row]
    if scores:
        lines.append(
            f"\nR@1, R@5: composition in %, {scores[0]['prompts']} held-out captions of the emoji generated "
            f"by the bundled "
            "model; change against all exact savings in points, with its standard error"
        )
    if measured["missing"]:
        lines.append(f"\npeers were not measured: pip install '{measured['missing']}'")
    return "\n".join(lines)


def _cells(name: str, row: dict[str, Any], scored: bool) -> list[str]:
    gflop = row["gflop"]
    cells = [
        name,
        f"{row['seconds']:.3f}",
        f"{row['tokens_per_s']:,.0f}",
        f"{row['peak_mib']:,.0f}",
        "" if gflop is None else f"{gflop:,.0f}" if gflop >= 100 else f"{gflop:.3g}",
        f"{row['speed']:.2f}",
        f"{'yes' if row['same_tokens'] else 'NO'} ({100 * row['share']:.1f} %)" if "same_tokens" in row else "",
    ]
    return [*cells, *_scores(row.get("composition", {}))] if scored else cells


def _scores(score: dict[str, Any]) -> list[str]:
    cells = []
    for name in ("r1", "r5"):
        cells.append(f"{score[name]:.1f}" if name in score else "")
        apart = f"{name}_difference"
        cells.append(f"{score[apart]:+.1f} +- {score[f'{name}_error']:.1f}" if apart in score else "")
    return cells
