"""Outcomes: what an interval decides, and what one seed does not."""

from __future__ import annotations

from typing import Any

import pytest

from mimgen.recipes.compare import Hypothesis, Paired, outcome_of
from mimgen.report.sections import Column, Section, read


def test_the_interval_decides() -> None:
    # Student's t with 2 degrees of freedom: 4.303 * s / sqrt(3)
    found = outcome_of("h", "c", [0.02, 0.03, 0.04])
    assert found.outcome == "supported" and found.mean == pytest.approx(0.03)
    assert found.high - found.mean == pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-4)
    assert outcome_of("h", "c", [-0.02, -0.03, -0.04]).outcome == "refuted"
    assert outcome_of("h", "c", [0.001, 0.03, -0.01]).outcome == "open"


def test_two_seeds_that_agree_in_sign_are_not_enough() -> None:
    assert outcome_of("h", "c", [0.002, 0.03]).outcome == "open"


def test_one_seed_says_nothing_about_others() -> None:
    found = outcome_of("h", "c", [0.5])
    assert found.outcome == "open" and found.mean == 0.5 and found.low is None and "one seed" in found.note
    assert outcome_of("h", "c", []).note == "not measured yet"


def test_test_items_widen_the_interval() -> None:
    items = [[1, 0, 0, 0, 0, 0, 0, -1, 1, 0], [0, 1, 0, 0, 0, 0, -1, 0, 0, 1]]
    found = outcome_of("h", "c", items)
    assert found.mean == pytest.approx(0.1) and found.outcome == "open"
    assert found.low < 0, "equal seeds alone would give an interval of width 0"
    assert outcome_of("h", "c", [0.1, 0.1]).outcome == "supported"


def rows(arm: list[float], **correct: list[str]) -> list[dict[str, Any]]:
    more = [{name: each[seed] for name, each in correct.items()} for seed in range(len(arm))]
    return [{"seed": seed, "folds": {"accuracy": {"knn": value}, **more[seed]}} for seed, value in enumerate(arm)]


def paired(**more: Any) -> Paired:
    return Paired("new beats old", "new", "old", {"knn": "folds.accuracy.knn"}, {"knn": "folds.correct"}, **more)


def test_pairs_by_seed_and_by_test_item() -> None:
    results = {"new": rows([0.75, 0.75], correct=["1110", "1110"]), "old": rows([0.5, 0.5], correct=["0110", "1100"])}
    [found] = paired().test(results)
    assert found.values == (0.25, 0.25) and found.contrast == "knn: new - old" and found.outcome == "open"
    results = {"new": rows([0.75, 0.76, 0.75]), "old": rows([0.5, 0.5])}
    [found] = paired().test(results)
    assert found.values == (0.25, 0.26), "a seed that one arm lacks is left out"
    assert paired().test({"new": [], "old": []})[0].note == "not measured yet"


def test_an_arm_that_learned_nothing_supports_nothing() -> None:
    results = {"new": rows([0.40, 0.41, 0.40]), "old": rows([0.3, 0.31, 0.3]), "start": rows([0.45, 0.45, 0.45])}
    assert paired().test(results)[0].outcome == "supported"
    [found] = paired(untrained="start").test(results)
    assert found.outcome == "open" and "against its untrained network" in found.note
    turned = {"new": results["old"], "old": results["new"], "start": results["start"]}
    assert paired(untrained="start").test(turned)[0].outcome == "refuted"


def test_as_good_as_has_a_margin() -> None:
    results = {"new": rows([0.500, 0.501, 0.499]), "old": rows([0.501, 0.5, 0.5])}
    assert paired().test(results)[0].outcome == "open"
    assert paired(margin=0.01).test(results)[0].outcome == "supported"


def test_contrasts_of_many_arms() -> None:
    results = {"a": rows([1.0, 2.0]), "b": rows([0.5, 1.5])}

    def gap(by_arm: dict[str, Any]) -> dict[str, float]:
        return {"gap": by_arm["a"]["folds"]["accuracy"]["knn"] - by_arm["b"]["folds"]["accuracy"]["knn"]}

    assert Hypothesis("a leads", gap).test(results)[0].values == (0.5, 0.5)
    assert Hypothesis("nothing", lambda by_arm: {}).test(results)[0].outcome == "open"


def test_tables_show_mean_and_range() -> None:
    assert read({"a": {"b": 1}}, "a.b") == 1 and read({"a": None}, "a.b") is None
    section = Section("t", (Column("x", "x", 1, 100), Column("word", "w")), {"one": [{"x": 0.5, "w": "b"}], "none": []})
    assert section.cells() == (["arm", "x", "word"], [["one", "50.0", "b"]])
    assert section.scores() == {"one": {"x": 0.5}, "none": {}}
