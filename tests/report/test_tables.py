"""Tables of results as text."""

from __future__ import annotations

from mimgen.report.tables import markdown, mean_range


def test_cells_show_mean_and_range() -> None:
    assert mean_range([1.0]) == "1.00" and mean_range([None, None]) == "-"
    assert mean_range([1.0, 2.0, None], 1) == "1.5 (1.0 to 2.0)"
    assert markdown(["a", "b"], [["x", "1"]]).splitlines() == ["| a | b |", "| --- | ---: |", "| x | 1 |"]
