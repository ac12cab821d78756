"""The bench of the probes on data so small that only its answers count."""

import pytest

from mimgen.errors import UserError
from tests.bench.probe import bench_attentive, bench_knn, main
from tests.bench.sweep import bench_sweep


def test_sweep_is_as_accurate_as_separate_runs() -> None:
    found = bench_sweep(images=600, features=16, classes=4, epochs=6)
    assert found["settings"] == 30
    assert found["accuracy"] > 0.5
    assert found["accuracy"] > found["separate_accuracy"] - 0.03
    assert found["ratio"] == pytest.approx(found["separate_s"] / found["seconds"])


def test_all_searches_answer_alike() -> None:
    pytest.importorskip("sklearn")
    found = bench_knn(keys=500, queries=60, width=8)
    assert found["agree"] > 0.95
    assert set(found["ours"]) == {"seconds", "extra_mib"}


@pytest.mark.slow
def test_efficient_pooling_has_fewer_parameters() -> None:
    found = bench_attentive(width=96, tokens=49, batch=2, repeats=1, steps=50)
    assert found["efficient_parameters"] < 0.6 * found["multihead_parameters"]
    assert found["efficient_accuracy"] > 0.8 and found["multihead_accuracy"] > 0.8


def test_unknown_flags_are_refused() -> None:
    with pytest.raises(UserError, match="unknown flag --image"):
        main(["--image", "3"])
