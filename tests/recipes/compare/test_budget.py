"""Training with a budget: as many images for all, or as many steps as the seconds allow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mimgen.errors import UserError
from mimgen.methods import Reconstruction
from mimgen.recipes import DataConfig, TrainTokenizer, load_image_quantizer
from mimgen.recipes.compare import Budget, ConfigRun, Train, named_run, train
from mimgen.tokenizers import ConvTokenizer
from mimgen.training import Settings


def toy() -> Reconstruction:
    return Reconstruction(ConvTokenizer(8, (1,), 1, 4, 6, "fsq", levels=(4, 4, 4), local=True))


def run(batch: int = 8) -> TrainTokenizer:
    settings = Settings(steps=1000, batch_size=batch, base_lr=1e-2, warmup=100)
    return TrainTokenizer("toy", "toy", toy, DataConfig("emoji", 16, "train"), settings)


def test_images_decide_the_steps(tmp_path: Path) -> None:
    done = train(run(), tmp_path, Budget(images=50))
    assert done["steps"] == done["steps_planned"] == 6 and done["images"] == 48
    assert not done["stopped_by_time_limit"] and done["seconds"] > 0 and done["parameters"] > 0
    settings = json.loads((tmp_path / "settings.json").read_text("utf-8"))
    assert settings["precision"] == "fp32" and settings["warmup"] == 1
    assert load_image_quantizer(tmp_path).codebook_size == 64
    again = train(run(), tmp_path, Budget(images=50))
    assert again["steps"] == 6 and again["seconds"] == done["seconds"]


def test_other_batches_see_as_many_images(tmp_path: Path) -> None:
    assert train(run(16), tmp_path, Budget(images=64))["images"] == 64


def test_seconds_alone_decide_the_steps_once(tmp_path: Path) -> None:
    short = Budget(images=None, seconds=1.0)
    done = train(run(), tmp_path, short)
    planned = json.loads((tmp_path / "plan.json").read_text("utf-8"))["steps"]
    assert done["steps_planned"] == planned and 1 <= done["steps"] <= planned


def test_the_clock_ends_a_run_before_its_images(tmp_path: Path) -> None:
    done = train(run(), tmp_path, Budget(images=10**6, seconds=1.0))
    assert done["stopped_by_time_limit"] and 0 < done["steps"] < done["steps_planned"]


def test_a_budget_is_needed_and_positive() -> None:
    with pytest.raises(UserError, match="--images, --seconds or both"):
        Budget(None, None)
    with pytest.raises(UserError, match="--seconds"):
        Budget(None, -1)
    assert str(Budget(20_000, 60)) == "20,000 images and at most 60 s"


def test_names_are_configs_with_a_variant() -> None:
    shared = {"size": "tiny", "data": "emoji", "pixels": 16}
    assert named_run("vqgan", shared) == ConfigRun("vqgan", shared)
    assert named_run("vqgan-fsq", {}).arguments == {"quantizer": "fsq"}
    with pytest.raises(UserError, match=r"unknown quantizer of vqgan 'fsk'; did you mean fsq"):
        named_run("vqgan-fsk", {})
    with pytest.raises(UserError, match="unknown config 'vggan'; did you mean vqgan"):
        named_run("vggan-vq", {})
    with pytest.raises(UserError, match="meissonic is no tokenizer"):
        named_run("meissonic", {}, only="tokenizer")
    with pytest.raises(UserError, match="has no variants"):
        named_run("mae-large", {})


def test_a_costlier_run_gets_fewer_images(tmp_path: Path) -> None:
    tiny = {"size": "tiny", "pixels": 16}
    budget = Budget(32, reference=ConfigRun("mae", tiny))
    assert str(budget) == "operations of mae for 32 images"
    row = Train(ConfigRun("simmim", tiny), budget, fit_schedules=True)(tmp_path / "a", 0, {})
    assert (row["share"] > 1 and row["images"] <= 32 / row["share"]) or row["steps"] == 1
    control = Train(ConfigRun("simmim", tiny), budget, trained=False)(tmp_path / "b", 0, {})
    assert control["steps"] == 0 and (tmp_path / "b" / "encoder" / "config.json").is_file()

