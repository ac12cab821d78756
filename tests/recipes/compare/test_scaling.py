"""`mimgen compare scaling`: its grid, one true row, the hypotheses, the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mimgen import configs
from mimgen.errors import UserError

experiment = configs.experiment("scaling", "compare")
WIDTHS, STEPS = "32,64", "200,800"


def test_the_grid_starts_with_what_is_cheap() -> None:
    names = [arm.name for arm in experiment(subsets="0,100", widths="32,16", steps="9").arms]
    assert names == ["100-16-9", "all-16-9", "100-32-9", "all-32-9"]
    with pytest.raises(UserError, match="multiples of 16"):
        experiment(widths="20")
    assert experiment(ratio=0.5).protocol["ratio"] == 0.5


@pytest.mark.filterwarnings("ignore:probe")
def test_a_row_is_trained_and_measured(tmp_path: Path) -> None:
    shared: dict[str, Any] = {"subsets": "30", "widths": "16", "steps": "4", "pixels": 16, "depth": 1, "limit": 40,
                              "labelled": 60, "batch": 4}  # fmt: skip
    row = experiment(**shared, epochs=1).arms[0].parts["cell"](tmp_path / "a", 0, {})
    assert row["subset_size"] == 30
    assert [point["step"] for point in row["curve"]] == [1, 2, 3, 4]
    assert row["curve"][-1] == {"step": 4, "train": row["train_loss"], "val": row["val_loss"]}
    assert row["val_loss"] < row["curve"][0]["val"]
    assert row["label"] == "subgroup" and row["val_n"] == 40 and 0 <= row["finetune"] <= 1
    # the same seed gives the same weights; without epochs nothing is fine-tuned
    again = experiment(**shared, epochs=0).arms[0].parts["cell"](tmp_path / "b", 0, {})
    assert again["val_loss"] == row["val_loss"] and again["probe"] == row["probe"] and again["finetune"] is None


def _cell(images: int, width: int, steps: int, seed: int) -> dict[str, Any]:
    """A row as the paper describes it: little data is over-fitted by the wide model, much data is not."""
    overfit = 0.3 * (width / 64) * (steps / 800) if images == 100 else 0.0
    val = 1.0 - 0.001 * width * (steps / 800) + overfit + 0.001 * seed
    train = val - 0.01 - 2 * overfit
    curve = [
        {"step": 10, "train": 1.2, "val": 1.2},
        {"step": steps // 2, "train": train, "val": val - overfit / 2},
        {"step": steps, "train": train, "val": val},
    ]
    return {"train_loss": train, "val_loss": val, "curve": curve, "probe": 0.9 - val / 2, "finetune": 1.1 - val / 2,
            "majority": 0.1, "seconds": 3.0, "label": "subgroup"}  # fmt: skip


def _results(**more: Any) -> dict[str, list[dict[str, Any]]]:
    grid = [(images, width, steps) for images in (100, 600, 0) for width in (32, 64) for steps in (200, 800)]
    return {
        f"{images or 'all'}-{width}-{steps}": [
            {"seed": seed, "cell": {**_cell(images, width, steps, seed), **more}} for seed in (0, 1, 2)
        ]
        for images, width, steps in grid
    }


def _outcomes(results: dict[str, Any]) -> list[set[str]]:
    return [{one.outcome for one in each.test(results)} for each in experiment(widths=WIDTHS, steps=STEPS).hypotheses]


def test_hypotheses_follow_their_contrasts() -> None:
    assert _outcomes(_results()) == [{"supported"}] * 3
    turned = _results()
    for rows in turned.values():
        for row in rows:
            row["cell"]["finetune"] = row["cell"]["val_loss"]
    assert "refuted" in _outcomes(turned)[1]
    for rows in turned.values():
        for row in rows:
            row["cell"]["curve"] = [{**point, "train": point["val"] + 0.1} for point in row["cell"]["curve"]]
    assert "refuted" in _outcomes(turned)[0]
    few = {name: rows if name.startswith("100") else [] for name, rows in _results().items()}
    assert _outcomes(few) == [{"open"}] * 3


def test_tables_and_curves() -> None:
    compare, results = experiment(widths=WIDTHS, steps=STEPS), _results()
    cells, ranks = compare.sections(results)
    names = list(cells.lines)
    assert names[0] == "100-32-200" and names[-1] == "all-64-800"
    # 1 - 0.001 x 32 x 200 / 800 + 0.3 x 32 / 64 x 200 / 800, and 0.001 more for each seed
    assert cells.cells()[1][0][2] == "1.0305 (1.0295 to 1.0315)"
    assert ranks.scores()["Spearman over all cells"]["val_loss with finetune"] == pytest.approx(-1)
    assert len(compare.curves(results)) == 5
