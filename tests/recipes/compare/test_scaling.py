"""The data-scaling study: its grid, one true row, its claims and its report."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from mimgen.errors import UserError
from mimgen.recipes.compare import scaling as study_scaling
from mimgen.recipes.compare.scaling import Options, cells, main
from mimgen.recipes.compare.scaling_rows import Cell, Protocol, cell_row
from mimgen.recipes.compare.scaling_verdicts import check_hypotheses, correlations, mean_over_seeds


def test_the_grid_starts_with_what_is_cheap() -> None:
    grid = cells(Options(subsets="0,100", widths="32,16", steps="9", seeds="1,0"))
    assert grid[0] == Cell(100, 16, 9, 0) and grid[-1] == Cell(0, 32, 9, 1) and len(set(grid)) == 8
    assert grid[1].name == "all-16-9-seed0"
    with pytest.raises(UserError, match="multiples of 16"):
        cells(Options(widths="20"))
    assert Options(ratio=0.5).protocol == Protocol(ratio=0.5)


@pytest.mark.filterwarnings("ignore:probe")
def test_a_row_is_trained_and_measured(tmp_path: Path) -> None:
    protocol = Protocol(pixels=16, depth=1, limit=40, labelled=60, epochs=1, batch=4, masks=1)
    row = cell_row(protocol, Cell(30, 16, 4, 0), tmp_path / "a")
    assert row["subset_size"] == 30 and row["protocol"] == asdict(protocol)
    assert [point["step"] for point in row["curve"]] == [1, 2, 3, 4]
    assert row["curve"][-1] == {"step": 4, "train": row["train_loss"], "val": row["val_loss"]}
    assert row["val_loss"] < row["curve"][0]["val"]
    assert row["label"] == "subgroup" and row["val_n"] == 40 and 0 <= row["finetune"] <= 1
    # the same seed gives the same weights; without epochs nothing is fine-tuned
    again = cell_row(replace(protocol, epochs=0), Cell(30, 16, 4, 0), tmp_path / "b")
    assert again["val_loss"] == row["val_loss"] and again["probe"] == row["probe"] and again["finetune"] is None


def _row(images: int, width: int, steps: int, seed: int = 0, **more: Any) -> dict[str, Any]:
    """A row as the paper describes it: little data is over-fitted by the wide model, much data is not."""
    overfit = 0.3 * (width / 64) * (steps / 800) if images == 100 else 0.0
    val = 1.0 - 0.001 * width * (steps / 800) + overfit + 0.001 * seed
    train = val - 0.01 - 2 * overfit
    curve = [
        {"step": 10, "train": 1.2, "val": 1.2},
        {"step": steps // 2, "train": train, "val": val - overfit / 2},
        {"step": steps, "train": train, "val": val},
    ]
    return {
        "images": images, "width": width, "steps": steps, "seed": seed, "protocol": asdict(Protocol()),
        "subset_size": images or 2900, "train_loss": train, "val_loss": val, "curve": curve, "probe": 0.9 - val / 2,
        "finetune": 1.1 - val / 2, "seconds": 3.0, "label": "subgroup", **more,
    }  # fmt: skip


GRID = [(images, width, steps) for images in (100, 600, 0) for width in (32, 64) for steps in (200, 800)]


def test_claims_follow_their_rules() -> None:
    rows = [_row(*position, seed) for position in GRID for seed in (0, 1)]
    assert [outcome.outcome for outcome in check_hypotheses(rows)] == ["confirmed"] * 3
    found = correlations(mean_over_seeds(rows))
    assert found["val_loss with finetune"] == pytest.approx(-1) and found["train_loss with probe"] > -0.9
    turned = [{**row, "finetune": row["val_loss"]} for row in rows]
    assert check_hypotheses(turned)[1].outcome == "refuted"
    without_gap = [{**row, "curve": [{**p, "train": p["val"]} for p in row["curve"]]} for row in rows]
    assert check_hypotheses(without_gap)[0].outcome == "refuted"
    flat = [{**row, "val_loss": 1.0 if row["width"] == 32 else 1.0 - 1 / row["steps"]} for row in rows]
    assert check_hypotheses(flat)[2].outcome == "refuted"
    assert [outcome.outcome for outcome in check_hypotheses(rows[:1])] == ["undecided"] * 3


def test_other_protocols_are_not_ranked() -> None:
    rows = [_row(100, 32, 200), _row(0, 32, 200, protocol=asdict(Protocol(ratio=0.5, unit=1)))]
    with pytest.raises(UserError, match="different ratio, unit cannot be ranked"):
        check_hypotheses(rows)


def test_report_and_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def made_once(path: Path, work: object, protocol: Protocol, cell: Cell, folder: Path) -> dict[str, Any]:
        assert work is cell_row and folder.name == path.stem == cell.name
        if cell == Cell(600, 64, 800, 1):
            return {"failed": "UserError: no"}
        return _row(cell.images, cell.width, cell.steps, cell.seed)

    monkeypatch.setattr(study_scaling, "made_once", made_once)
    words = f"--widths 32,64 --seeds 0,1 --out {tmp_path}".split()
    assert main(words) == 1
    text = (tmp_path / "result.md").read_text("utf-8")
    assert "| 100 | 32 | 200 | 0.9450 (0.9445 to 0.9455) | 1.0300" in text and "| 2900 | 64 | 800 |" in text
    assert "600-64-800-seed1 failed: UserError: no" in text and "**confirmed**" in text
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert len(result["rows"]) == 24 and len(result["outcomes"]) == 3 and "versions" in result
    assert result["scores"]["rank correlation"]["val_loss with finetune"] < -0.9
    assert len(result["scores"]["rank correlation by seed"]["val_loss with finetune"]["values"]) == 2
    assert "<polyline" in (tmp_path / "result.html").read_text("utf-8")
    with pytest.raises(UserError, match="choose another --out"):
        main([*words, "--ratio", "0.5"])
    capsys.readouterr()
