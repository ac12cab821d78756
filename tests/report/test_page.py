"""The report: complete, escaped, and free of anything from outside."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from mimgen.report.curves import curve_svg
from mimgen.report.page import Curve, Gallery, Item, Number, Report, Scores, Step, render, write_report

VOID = {"meta", "img", "line", "polyline", "br"}


class _Balance(HTMLParser):
    """Checks that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """A tag that closes itself opens nothing."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def report() -> Report:
    return Report(
        title="a <run> & more",
        lead="lead",
        numbers=[Number("R@5", "12 %", "floor 3 %")],
        sections=[
            Gallery("images", "text", [Item({"true": torch.rand(3, 8, 8), "made": torch.rand(3, 8, 8)}, "a $5 <b>")]),
            Scores("scores", "text", ["", "R@1"], [["ours", 0.25], ["floor", 1.5]]),
        ],
        curves=[Curve("loss", "step", {"a": [(0, 1.0), (1, float("nan")), (2, 0.5)], "b": [(0, 2.0)]})],
        next_steps=[Step("mimgen generate", "go on")],
        provenance={"machine": {"cores": 2}, "commit": "abc"},
    )


def test_page_is_whole_and_escaped(report: Report, tmp_path: Path) -> None:
    text = write_report(tmp_path / "report.html", report).read_text("utf-8")
    parser = _Balance()
    parser.feed(text)
    assert parser.open == []
    assert "a &lt;run&gt; &amp; more" in text
    assert "a $5 &lt;b&gt;" in text
    assert text.count("data:image/png;base64,") == 2
    assert "25.0 %" in text
    assert "100.0 %" in text, "shares are cut to [0, 1]"
    assert "machine / cores" in text


def test_page_needs_no_network_and_no_script(report: Report) -> None:
    text = re.sub(r'src="data:[^"]*"', "", render(report))
    assert not re.findall(r"https?://|<script|<link|@import|url\(|src=", text)


def test_curve_leaves_out_what_is_not_finite() -> None:
    html = curve_svg(Curve("loss", "step", {"a": [(0, 1.0), (1, float("inf")), (2, 0.5)]}))
    assert "nan" not in html
    assert "inf" not in html
    assert len(re.findall(r"<polyline", html)) == 1
    points = re.search(r'points="([^"]*)"', html)
    assert points is not None
    assert len(points[1].split()) == 2


def test_long_curves_are_thinned_and_flat_ones_drawn() -> None:
    long = curve_svg(Curve("loss", "step", {"a": [(step, 1.0) for step in range(5000)]}))
    points = re.search(r'points="([^"]*)"', long)
    assert points is not None
    assert len(points[1].split()) <= 300
    assert "no values" in curve_svg(Curve("loss", "step", {"a": []}))
