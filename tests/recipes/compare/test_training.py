"""Training with a budget: as many images for all, or as many steps as the seconds allow."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mimgen.errors import UserError
from mimgen.methods import Reconstruction
from mimgen.recipes import DataConfig, TrainTokenizer, load_image_quantizer
from mimgen.recipes.compare.scores import labelled, score
from mimgen.recipes.compare.training import Budget, train
from mimgen.tokenizers import ConvTokenizer
from mimgen.training import Settings
from mimgen.types import Codes


def toy() -> Reconstruction:
    return Reconstruction(ConvTokenizer(8, (1,), 1, 4, 6, "fsq", levels=(4, 4, 4), local=True))


def run(batch: int = 8) -> TrainTokenizer:
    settings = Settings(steps=1000, batch_size=batch, base_lr=1e-2, warmup=100)
    return TrainTokenizer("toy", "toy", toy, DataConfig("emoji", 16, "train"), settings)


def test_images_decide_the_steps(tmp_path: Path) -> None:
    done = train(run(), tmp_path, Budget(images=50))
    assert done["steps"] == done["steps_planned"] == 6 and done["images"] == 48
    assert not done["stopped_by_clock"] and done["seconds"] > 0 and done["parameters"] > 0
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
    assert done["stopped_by_clock"] and 0 < done["steps"] < done["steps_planned"]


def test_a_budget_is_needed_and_positive() -> None:
    with pytest.raises(UserError, match="--images, --seconds or both"):
        Budget(None, None)
    with pytest.raises(UserError, match="--seconds"):
        Budget(None, -1)
    assert Budget(20_000, 60).words() == "20,000 images and at most 60 s"


@pytest.mark.filterwarnings("ignore:probe")
def test_scores_of_an_untrained_tokenizer() -> None:
    torch.manual_seed(0)
    data = labelled("emoji", 16, 80)
    assert len(data.train) == len(data.val) == 80 and data.label == "subgroup"
    tokenizer = toy().tokenizer.train()
    found = score(tokenizer, data, seed=0)  # type: ignore[arg-type]
    assert tokenizer.training
    assert found["tokens"] == 16 and found["bits"] == 96 and found["codebook_size"] == 64
    assert found["psnr"] > 0 and found["rfid"] > 0 and "lab-hog" in found["rfid_extractor"]
    assert 0 < found["usage"] <= 1 and 1 <= found["perplexity"] <= 64
    assert 0 <= found["probe_mean"] <= 1 and 0 <= found["probe_grid"] <= 1
    assert found["encode_images_per_s"] > 0 and found["decode_images_per_s"] > 0


class _Features:
    """Codes without images, as VQ-KD gives them."""

    codebook_size, downsample = 4, 8

    def encode(self, images: torch.Tensor) -> Codes:
        indices = (images[:, 0, ::8, ::8] * 3.99).long()
        return Codes(indices, self.lookup(indices))

    def lookup(self, indices: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(indices, 4).movedim(-1, 1).float()


def test_what_gives_no_images_has_no_psnr() -> None:
    data = replace(labelled("photos", 16, 68), label=None)
    found = score(_Features(), data, seed=0)
    assert found["psnr"] is None and found["rfid"] is None and found["decode_images_per_s"] is None
    assert found["tokens"] == 4 and found["bits"] == 8 and found["perplexity"] > 1 and found["probe_grid"] is None
