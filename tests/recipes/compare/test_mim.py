"""`mimgen compare mim`: verdicts, what a step costs, the measures, and a run from end to end."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mimgen import configs
from mimgen.errors import UserError
from mimgen.probing.open import open_encoder
from mimgen.recipes import DataConfig
from mimgen.recipes.compare import mim as study_mim
from mimgen.recipes.compare import mim_measures as measures
from mimgen.recipes.compare import mim_own as own
from mimgen.recipes.compare.mim import Options, main, outcome
from mimgen.recipes.compare.mim_trials import COMPARISONS, FOLDED, Arm, mismatched_pairs, unscaled
from mimgen.recipes.compare.probes_row import ProbeRequest
from mimgen.recipes.flops import operations


def test_a_claim_needs_every_seed():
    assert outcome([0.5, 0.6], [0.4, 0.5]) == "confirmed"
    assert outcome([0.4, 0.5], [0.5, 0.6]) == "refuted"
    assert outcome([0.5, 0.5], [0.4, 0.6]) == "open" == outcome([0.5], [0.5])


def test_operations_of_mae_are_those_of_its_layers():
    """Forward and backward products of 16 patches of 48 numbers, 4 of them visible, and a class token."""
    width, narrow, visible, seen = 32, 24, 1 + 4, 1 + 16

    def products(tokens: int, a: int, b: int) -> int:
        return 2 * tokens * a * b

    blocks = 2 * 12 * products(visible, width, width) + 12 * products(seen, narrow, narrow)
    linear = blocks + products(visible, width, narrow) + products(seen, narrow, 48)
    embedding = products(visible - 1, 48, width)  # of patches that are seen; images need no gradient
    attention = 2 * 4 * visible**2 * width + 4 * seen**2 * narrow  # backward two and a half times as much
    expected = 3 * linear + 2 * embedding + 3.5 * attention
    assert operations(configs.training("mae", size="tiny")) == expected


def test_every_variant_of_the_trials_is_a_config_and_has_a_file_of_its_own():
    arms = list(dict.fromkeys(arm for comparison in COMPARISONS for arm in comparison.arms))
    assert len({arm.file for arm in arms}) == len(arms)
    options = Options(size="tiny", pixels=16, images=64)
    for arm in arms:
        pickle.dumps(arm)  # rows are made in processes of their own
        assert study_mim._run(options, arm, 0).data_config.split == "train"
    assert len({comparison.system for comparison in COMPARISONS}) == len(COMPARISONS)
    for comparison in COMPARISONS:
        assert {comparison.arms[0].data is None} == {comparison.judged_by == FOLDED}, (
            "own data are evaluated by own measures"
        )


def test_schedules_end_with_the_steps_of_the_budget():
    hpm = Arm("HPM", "hpm")
    assert study_mim._run(Options(size="tiny", pixels=16), hpm, 0, steps=7).settings.steps == 7


def test_second_views_of_strangers_belong_to_other_scenes():
    plain, mixed = (each.open() for each in (DataConfig("parallax", 16, "train"),
                                             mismatched_pairs(DataConfig("parallax", 16, "train"))))  # fmt: skip
    assert torch.equal(mixed[3].image, plain[3].image)
    assert torch.equal(mixed[3].extras["second"], plain[4].extras["second"])
    held = mismatched_pairs(DataConfig("parallax", 16, "val")).open()
    assert torch.equal(held[3].extras["second"], DataConfig("parallax", 16, "val").open()[3].extras["second"])


def test_unscaled_bands_are_in_kelvin():
    image = unscaled(DataConfig("bands", 16, "train")).open()[0].image
    assert float(image[5].mean()) > 150
    assert float(DataConfig("bands", 16, "train").open()[0].image[5].mean()) < 1.5


def test_ridge_finds_a_linear_map():
    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    weights = torch.arange(10.0).view(5, 2)
    y = x @ weights + 3
    output = measures.ridge(x[:150], y[:150], x[150:], 1e-9)
    assert output == pytest.approx(y[150:], abs=1e-3)
    assert own.explained(output, y[150:]) == pytest.approx(1.0, abs=1e-6)
    assert own.explained(y.mean(0).mean().expand(len(y), 2), y) == pytest.approx(0.0, abs=1e-6)


def test_cosine_and_lift_by_hand():
    assert measures.cosine(torch.ones(4, 3)) == pytest.approx(1.0)
    assert measures.cosine(torch.eye(4)) == pytest.approx(0.0)
    images = torch.ones(1, 3, 4, 4)
    images[..., :2, :2] = 0.5
    content = measures.foreground_share(images, 4)
    assert content.tolist() == [[1, 0, 0, 0]]
    assert measures.lift(content, torch.tensor([[True, True, False, False]])) == pytest.approx(2.0)
    # an image left whole says nothing
    both = torch.tensor([[True, True, False, False], [False] * 4])
    assert measures.lift(content.expand(2, 4), both) == pytest.approx(2.0)


def test_mean_precision_by_hand():
    angle = torch.tensor([0.0, 0.1, 0.25, 1.5])
    vectors = torch.stack([angle.cos(), angle.sin()], 1)
    # 0: finds 1 (other), 2 (same); 1: finds 0, 2 (others), 3 (same); 2: 1, 0; 3: 2, 1
    expected = (1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 4
    assert own.mean_precision(vectors, torch.tensor([0, 1, 0, 1])) == pytest.approx(expected)
    assert own.mean_precision(vectors, torch.tensor([0, 0, 0, 7])) == pytest.approx(1.0), "nobody else is a 7"


def test_dice_by_hand():
    output, true = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 2, 2])
    assert own.dice(output, true, 3) == pytest.approx((2 / 3 + 2 / 3) / 2)
    scores = torch.tensor([[0.9, 0.3, 0.1], [0.9, 0.1, 0.15]])
    assert own._organ(scores, 0.2).tolist() == [1, 0]


def measured(measure: measures.Measure, config: str, options: dict[str, Any], data: str, side: int = 16) -> dict:
    run = configs.training(config, size="tiny", data=data, pixels=side, **options)
    torch.manual_seed(0)
    with torch.no_grad():
        return measure(run.build().eval(), run)


def test_measures_of_masks():
    assert measured(measures.reconstruction_gain, "dmjd", {}, "emoji") == {"coverage": 1.0}
    assert measured(measures.reconstruction_gain, "dmjd", {"views": "independent"}, "emoji")["coverage"] < 1
    assert sum(measured(measures.reconstruction_gain, "mff", {}, "emoji").values()) == pytest.approx(1.0)
    assert measured(measures.foreground, "mae", {}, "emoji")["foreground masked"] == pytest.approx(1, abs=0.1)
    assert measured(measures.foreground, "attmask", {}, "emoji")["foreground masked"] > 0
    assert abs(measured(measures.hard_order, "hpm", {}, "emoji")["tau"]) < 0.3, "nothing was learned"
    assert measured(measures.hard_order, "mae", {}, "emoji") == {}
    spread = measured(measures.collapse, "latentmim", {}, "emoji", 20)
    assert -1 < spread["mean cosine"] < 1 <= spread["effective rank"]


def test_measures_of_two_views_and_bands():
    found = measured(own.second_view, "croco", {}, "parallax")
    assert abs(found["second view"]) < 0.1, "nothing was learned"
    assert all(math.isfinite(value) for value in found.values())
    assert measured(own.second_view, "mae", {}, "parallax") == {}
    bands = measured(own.band_prediction, "satvision_toa", {}, "bands")
    assert bands["told, worst band"] <= bands["told, mean band"] < 1


def here(path: Path, work: Callable[..., dict], *arguments: Any) -> dict:
    """As `made_once`, in this process."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(work(*arguments)), encoding="utf-8")
    return json.loads(path.read_text("utf-8"))


def probed(request: ProbeRequest) -> dict[str, Any]:
    """As `row`, which has tests of its own, without the probes."""
    assert open_encoder(request.spec, request.pixels).encoder.depth
    return {"accuracy": dict.fromkeys(request.probes, 0.25), "layer": 0}


def folded(request: ProbeRequest) -> dict[str, Any]:
    """As `folds`, without the probes."""
    return {"values": {f"{name}, folds": 0.5 for name in request.probes}}


def test_two_systems_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each system and its baseline for a step: one that is probed, one with data of its own."""
    words = ["--systems", "mff,satvision_toa", "--seeds", "0", "--size", "tiny", "--pixels", "16", "--images", "8",
             "--no-ablations", "--out", str(tmp_path)]  # fmt: skip
    monkeypatch.setattr(study_mim, "made_once", here)
    monkeypatch.setattr(study_mim, "row", probed)
    monkeypatch.setattr(study_mim, "folds", folded)
    assert main(words) == 0
    kept = {path.name: path.read_bytes() for path in (tmp_path / "rows").iterdir()}
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert result["scores"]["mff"]["MFF"] == {probe: [0.5] for probe in FOLDED}
    assert set(result["scores"]["satvision_toa"]["untrained"]) == {"profile", "cover"}
    first = result["rows"]["mff"][0]
    assert first["training"]["steps"] == 1 and first["share"] > 1, "a fusion costs something"
    assert first["measured"]["reconstruction_gain"]["values"]["share_0"] == pytest.approx(0.5, abs=0.1)
    assert result["rows"]["satvision_toa-data=bands-untrained"][0]["training"]["images"] == 0
    text = (tmp_path / "result.md").read_text("utf-8")
    assert "Against last layer (MAE) over 1 seed:" in text and "profile" in text
    monkeypatch.undo()
    assert main(words) == 0, "resumes with what is kept"
    assert kept == {path.name: path.read_bytes() for path in (tmp_path / "rows").iterdir()}


def test_folds_test_every_image_once_and_keep_twins_together(tmp_path: Path):
    from mimgen.data import open_data
    from mimgen.recipes.compare.mim_folds import FOLDS, fold_of, folds

    assert fold_of("woman astronaut: dark skin tone") == fold_of("woman astronaut: light skin tone")
    shares = torch.tensor([fold_of(caption) for caption in open_data("emoji", size=16, split="train").captions])
    assert (torch.bincount(shares, minlength=FOLDS) / len(shares) - 1 / FOLDS).abs().max() < 0.05
    found = folds(ProbeRequest("pixels", "emoji", 16, ("knn",), 0, 300, tmp_path))["values"]["knn, folds"]
    assert 0.2 < found < 0.9 and found * 300 == pytest.approx(round(found * 300)), "each of 300 counts once"


def test_a_failure_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(study_mim, "made_once", lambda *_: {"failed": "no room"})
    assert main(["--systems", "simmim", "--seeds", "0", "--out", str(tmp_path)]) == 1
    assert "SimMIM, seed 0 failed: no room" in capsys.readouterr().out
    with pytest.raises(UserError, match="choose from simmim"):
        main(["--systems", "simmin", "--out", str(tmp_path)])
