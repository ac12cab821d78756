"""`python -m tests.bench pretrain`: everybody takes a step, and with lightly installed losses agree."""

import importlib.util

import pytest
import torch

from mimgen.errors import UserError
from mimgen.types import Mask
from tests.bench import peak_memory, pretrain_peers
from tests.bench import pretrain as bench_pretrain
from tests.bench.pretrain import agreement, bench, main, report
from tests.bench.pretrain_peers import KINDS, LIGHTLY, SHAPES, lightly_positions, ours, peer
from tests.bench.pretrain_steps import Setting, mask_seconds, timed_step

SMALL = ["--shapes", "tiny", "--batch", "2", "--repeats", "1", "--device", "cpu"]
LIGHTLY_THERE = importlib.util.find_spec("lightly") is not None


@pytest.fixture(autouse=True)
def no_children(monkeypatch):
    # A child for each kind takes long; the function that it runs is tested here, the child in test_bench_tokenizer.
    monkeypatch.setattr(peak_memory, "peak_in_child", lambda prepare, arguments: 2**20 * bool(prepare(*arguments)()))


def test_absent_peers_are_named_and_left_empty(monkeypatch, capsys):
    monkeypatch.setattr(pretrain_peers, "find_spec", lambda name: None)
    assert main(SMALL) == 0
    printed = capsys.readouterr().out
    assert printed.count("pip install timm lightly\n") == 2 and printed.count("pip install timm\n") == 1
    assert "times as fast as lightly" not in printed and "hpm" in printed


def test_ours_alone_is_measured(monkeypatch):
    monkeypatch.setattr(pretrain_peers, "find_spec", lambda name: None)
    shape = bench("tiny", 2, 1, "cpu")["shapes"]["tiny"]
    assert set(shape["steps"]) == set(KINDS) and shape["agree"] == {}
    assert shape["steps"]["timm supervised"] == {"missing": "timm"}
    row = shape["steps"]["mae"]
    assert row["images_per_s"] == 2 / row["seconds"] and row["peak_mib"] == 1
    assert shape["masking"]["hpm"]["share"] == shape["masking"]["hpm"]["seconds"] / row["seconds"]


def test_steps_train():
    for kind in ("mae", "simmim"):
        step = timed_step(kind, SHAPES["tiny"], Setting(2))
        first = step()
        assert min(step() for _ in range(20)) < first


def test_a_different_loss_is_reported_and_fails(monkeypatch, capsys):
    row = {"seconds": 1.0, "images_per_s": 2.0, "peak_mib": 3.0}
    shape = {
        "steps": dict.fromkeys(KINDS, row), "ratio": {"mae": 1.5}, "memory": {"mae": 2.0},
        "agree": {"mae": False}, "optimiser": {"fused_s": 0.001, "plain_s": 0.002},
        "masking": {"random": {"seconds": 0.01, "share": 0.01}}, "default_adamw": {"mae": 1.75},
    }  # fmt: skip
    measured = {"shapes": {"tiny": shape}, "device": "cpu", "precision": "fp32", "threads": 1, "versions": {}}
    monkeypatch.setattr(bench_pretrain, "bench", lambda **_: measured)
    assert main(SMALL) == 1
    printed = capsys.readouterr().out
    assert "DIFFERENT" in printed and "1.50 times as fast" in printed and "random 1.00 %" in printed
    assert "1.75 times as fast as lightly's with that default" in printed
    shape["agree"]["mae"] = True
    assert "the same loss" in report(measured)


def test_our_mask_as_places_of_lightly():
    keep, drop = lightly_positions(Mask(torch.tensor([[True, False, True, False]])))
    assert keep.tolist() == [[0, 2, 4]] and drop.tolist() == [[1, 3]]


def test_masks_are_timed():
    found = mask_seconds((4, 4), 2, repeats=1)
    assert set(found) == {"random", "block", "hpm", "attmask"} and min(found.values()) > 0


@pytest.mark.skipif(not LIGHTLY_THERE, reason="lightly is optional")
@pytest.mark.parametrize("kind", sorted(LIGHTLY))
def test_losses_agree_with_lightly(kind):
    assert agreement(kind, SHAPES["tiny"])
    objective = ours(kind, SHAPES["tiny"])
    theirs, loss = peer(LIGHTLY[kind], SHAPES["tiny"])
    assert sum(p.numel() for p in theirs.parameters()) >= sum(p.numel() for p in objective.parameters())
    assert float(loss(torch.rand(2, 3, 16, 16)).detach()) > 0


@pytest.mark.skipif(not LIGHTLY_THERE, reason="lightly is optional")
def test_disagreement_is_noticed(monkeypatch):
    monkeypatch.setattr(bench_pretrain, "normalised", lambda images: images)
    assert not agreement("mae", SHAPES["tiny"])


def test_mistakes_are_named():
    with pytest.raises(UserError, match="did you mean ti32"):
        bench("ti23", device="cpu")
    with pytest.raises(UserError, match="at least 1"):
        bench("tiny", 0, device="cpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no GPU"):
            bench("tiny", device="cuda")
