"""Measures of pretraining objectives, by hand and on untrained ones; the data of their controls."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from mimgen import configs
from mimgen.data import open_data
from mimgen.probing.frozen import (
    FOLDS,
    ProbeRequest,
    candidate_layers,
    fold_of,
    probe_best_layer,
    probe_folds,
)
from mimgen.probing.objective_measures import (
    HeldOut,
    Measure,
    collapse,
    foreground,
    foreground_share,
    lift,
    mean_cosine,
    own_metrics,
    ranking,
    ridge,
)  # fmt: skip
from mimgen.probing.own_data import _organ, band_prediction, dice, explained, mean_precision, second_view
from mimgen.recipes import DataConfig
from mimgen.recipes.control_data import mismatched_pairs, unscaled


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
    output = ridge(x[:150], y[:150], x[150:], 1e-9)
    assert output == pytest.approx(y[150:], abs=1e-3)
    assert explained(output, y[150:]) == pytest.approx(1.0, abs=1e-6)
    assert explained(y.mean(0).mean().expand(len(y), 2), y) == pytest.approx(0.0, abs=1e-6)


def test_cosine_and_lift_by_hand():
    assert mean_cosine(torch.ones(4, 3)) == pytest.approx(1.0)
    assert mean_cosine(torch.eye(4)) == pytest.approx(0.0)
    images = torch.ones(1, 3, 4, 4)
    images[..., :2, :2] = 0.5
    content = foreground_share(images, 4)
    assert content.tolist() == [[1, 0, 0, 0]]
    assert lift(content, torch.tensor([[True, True, False, False]])) == pytest.approx(2.0)
    # an image left whole says nothing
    both = torch.tensor([[True, True, False, False], [False] * 4])
    assert lift(content.expand(2, 4), both) == pytest.approx(2.0)


def test_mean_precision_by_hand():
    angle = torch.tensor([0.0, 0.1, 0.25, 1.5])
    vectors = torch.stack([angle.cos(), angle.sin()], 1)
    # 0: finds 1 (other), 2 (same); 1: finds 0, 2 (others), 3 (same); 2: 1, 0; 3: 2, 1
    expected = (1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 4
    assert mean_precision(vectors, torch.tensor([0, 1, 0, 1])) == pytest.approx(expected)
    assert mean_precision(vectors, torch.tensor([0, 0, 0, 7])) == pytest.approx(1.0), "nobody else is a 7"


def test_dice_by_hand():
    output, true = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 2, 2])
    assert dice(output, true, 3) == pytest.approx((2 / 3 + 2 / 3) / 2)
    scores = torch.tensor([[0.9, 0.3, 0.1], [0.9, 0.1, 0.15]])
    assert _organ(scores, 0.2).tolist() == [1, 0]


def measured(measure: Measure, config: str, options: dict[str, Any], data: str, side: int = 16) -> dict:
    run = configs.training(config, size="tiny", data=data, pixels=side, **options)
    torch.manual_seed(0)
    with torch.no_grad():
        return measure(run.build().eval(), HeldOut(run.data_config))


def test_measures_of_masks():
    assert measured(own_metrics, "dmjd", {}, "emoji") == {"coverage": 1.0}
    assert measured(own_metrics, "dmjd", {"views": "independent"}, "emoji")["coverage"] < 1
    assert sum(measured(own_metrics, "mff", {}, "emoji").values()) == pytest.approx(1.0)
    assert measured(foreground, "mae", {}, "emoji")["foreground masked"] == pytest.approx(1, abs=0.1)
    assert measured(foreground, "attmask", {}, "emoji")["foreground masked"] > 0
    assert abs(measured(ranking, "hpm", {}, "emoji")["tau"]) < 0.3, "nothing was learned"
    assert measured(ranking, "mae", {}, "emoji") == {}
    spread = measured(collapse, "latentmim", {}, "emoji", 20)
    assert -1 < spread["mean cosine"] < 1 <= spread["effective rank"]


def test_measures_of_two_views_and_bands():
    found = measured(second_view, "croco", {}, "parallax")
    assert abs(found["second view"]) < 0.1, "nothing was learned"
    assert all(math.isfinite(value) for value in found.values())
    assert measured(second_view, "mae", {}, "parallax") == {}
    bands = measured(band_prediction, "satvision_toa", {}, "bands")
    assert bands["explained, worst band"] <= bands["explained, mean band"] < 1


def test_layers_tried_are_spread_and_end_at_the_output() -> None:
    assert candidate_layers(12) == (2, 5, 8, 11, 12)
    assert candidate_layers(2) == (0, 1, 2) and candidate_layers(0) == (0,)


def test_an_encoder_is_probed_at_its_best_layer(tmp_path: Path) -> None:
    found = probe_best_layer(ProbeRequest("hog", "emoji", 32, ("linear", "abmilp"), 0, 40, tmp_path))
    assert set(found["accuracy"]) == {"linear", "abmilp"} and found["n"] == 40
    assert found["layer"] == "output" and found["label"] == "subgroup"
    assert found["encoder"]["source"] == "hog" and len(found["encoder"]["digest"]) == 16


def test_folds_test_every_image_once_and_keep_twins_together(tmp_path: Path) -> None:
    assert fold_of("woman astronaut: dark skin tone") == fold_of("woman astronaut: light skin tone")
    shares = torch.tensor([fold_of(caption) for caption in open_data("emoji", size=16, split="train").captions])
    assert (torch.bincount(shares, minlength=FOLDS) / len(shares) - 1 / FOLDS).abs().max() < 0.05
    found = probe_folds(ProbeRequest("pixels", "emoji", 16, ("knn",), 0, 300, tmp_path))
    accuracy, correct = found["accuracy"]["knn"], found["correct"]["knn"]
    assert 0.2 < accuracy < 0.9 and len(correct) == 300
    assert correct.count("1") / 300 == pytest.approx(accuracy), "each of 300 counts once"
