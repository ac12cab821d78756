"""`python -m tests.bench tokenizer`: the comparison runs, agrees with the library and measures memory."""

import functools

import pytest
import torch

from mimgen.errors import UserError
from tests.bench import tokenizer as bench_tokenizer
from tests.bench.peak_memory import peak_in_child
from tests.bench.tokenizer import bench_merging, bench_search, fastest, main

SIZES = {"bits": 6, "positions": 600, "library-positions": 40, "codes": 64, "width": 4, "searched": 50}
SIZES |= {"pixels": 64, "removed": 1, "batch": 1, "repeats": 1}
SMALL = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]


def test_all_parts_are_printed_and_agree(monkeypatch, capsys):
    # One child for both is enough; it is tested below.
    monkeypatch.setattr(bench_tokenizer, "peak_in_child", lambda prepare, arguments: prepare(*arguments) and 2**20)
    assert main(SMALL) == 0
    printed = capsys.readouterr().out
    for word in ("2^6 codes", "nearest of 64 codes", "token merging", "1 MiB extra", "agree"):
        assert word in printed


def test_a_difference_is_found(monkeypatch, capsys):
    monkeypatch.setattr(bench_tokenizer, "peak_in_child", lambda prepare, arguments: 0)
    monkeypatch.setattr(bench_tokenizer, "_close", lambda a, b: False)
    assert main(SMALL) == 1
    assert "DIFFER" in capsys.readouterr().out


def test_ratios_are_of_the_times():
    search, merging = bench_search(64, 4, 50, 1), bench_merging(64, 1, 1, 1)
    assert search["ratio"] == search["library_s"] / search["seconds"]
    assert merging["ratio"] == merging["plain_s"] / merging["merged_s"]
    assert merging["overhead"] == merging["merging_s"] / merging["block_s"]


def test_the_fastest_of_alternating_runs_counts():
    order = []
    found = fastest(2, lambda: order.append("a"), lambda: order.append("b"))
    assert order == ["a", "b", "a", "b"] and len(found) == 2


def test_memory_of_a_call_is_measured_in_a_child():
    measured = peak_in_child(functools.partial, (torch.ones, (64, 2**18)))
    # roughly, as the system may move pages out where memory is short
    assert measured == pytest.approx(64 * 2**20, rel=0.5)


def test_a_child_that_dies_is_an_error():
    with pytest.raises(RuntimeError, match="exit status 1"):
        peak_in_child(abs, (1,))


def test_unknown_options_are_named():
    with pytest.raises(UserError, match="--bits"):
        main(["--bit", "6"])
