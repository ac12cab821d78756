"""Two checkouts are timed in turn, each with its own code."""

import pytest

from mimgen.errors import UserError
from tests.bench.against import HERE, Checkout, bench, main
from tests.bench.measure import Ratio, Timing, interleaved, timed


def test_rounds_alternate_and_keep_every_time():
    order = []
    ours, theirs = interleaved(2, lambda: order.append("a") or 2.0, lambda: order.append("b") or 1.0)
    assert order == ["a", "b", "a", "b"]
    assert (ours.seconds, theirs.median) == ((2.0, 2.0), 1.0)
    assert all(second >= 0 for second in timed(3, lambda: None)[0].seconds)


def test_a_ratio_whose_spread_holds_one_says_so():
    clear = Ratio.of(Timing((2.0, 3.0, 4.0)), Timing((1.0, 1.0, 1.0)))
    assert (clear.median, clear.low, clear.high, clear.certain) == (3.0, 2.0, 4.0, True)
    assert str(clear) == "3.00 times (2.00 to 4.00)"
    unclear = Ratio.of(Timing((2.0, 0.5)), Timing((1.0, 1.0)))
    assert not unclear.certain
    assert "no difference is shown" in str(unclear)


def test_a_checkout_runs_its_own_code(tmp_path):
    """A copy whose command writes a file at once is faster than this checkout's could ever be."""
    root = tmp_path / "other"
    (root / "mimgen").mkdir(parents=True)
    (root / "configs").mkdir()
    (root / "pyproject.toml").write_text('[project.scripts]\nmimgen = "mimgen.start:run"\n')
    (root / "mimgen" / "__init__.py").touch()
    (root / "mimgen" / "start.py").write_text(
        "import pathlib, sys\ndef run():\n    pathlib.Path(sys.argv[-1]).write_text(' '.join(sys.argv[1:3]))\n"
    )
    checkout = Checkout(root, tmp_path / "scratch")
    assert checkout.generate() > 0
    assert (tmp_path / "scratch" / "x.png").read_text() == "generate red apple"


def test_a_training_step_beside_itself(capsys):
    assert main([str(HERE), "--rows", "mae", "--repeats", "1"]) == 0
    assert "mae" in capsys.readouterr().out


def test_what_cannot_be_timed_is_named(tmp_path):
    with pytest.raises(UserError, match="no checkout of mimgen"):
        next(bench(tmp_path))
    with pytest.raises(UserError, match="row"):
        next(bench(HERE, rows="cold,warm"))
    with pytest.raises(UserError, match="at least 1"):
        next(bench(HERE, repeats=0))
