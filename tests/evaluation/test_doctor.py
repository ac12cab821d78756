"""The doctor: known tokenizers and images get the verdict that they deserve."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.bundled import pipeline_folder
from mimgen.data import Dataset, open_data
from mimgen.errors import UserError
from mimgen.evaluation import Thresholds, examine
from mimgen.evaluation.doctor import assess
from mimgen.tokenizers import ConvTokenizer
from mimgen.types import Codes


class Flat:
    """Keeps the mean colour of each square, and of each colour the nearest of 16 greys as an id."""

    codebook_size = 16
    downsample = 4

    def encode(self, images: Tensor) -> Codes:
        latents = F.avg_pool2d(images, 4)
        return Codes((latents.mean(1) * 15).round().long(), latents)

    def decode(self, codes: Codes | Tensor) -> Tensor:
        assert isinstance(codes, Codes)
        return F.interpolate(codes.latents, scale_factor=4.0)

    def lookup(self, indices: Tensor) -> Tensor:
        raise NotImplementedError


def noise(count: int = 40, side: int = 64) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def bundled() -> ConvTokenizer:
    return ConvTokenizer.from_pretrained(pipeline_folder() / "vqvae")


@pytest.mark.filterwarnings("ignore:FID over")
def test_bundled_tokenizer_fits_emoji_but_not_noise() -> None:
    emoji = open_data("emoji", size=64, split="val")
    assert isinstance(emoji, Dataset)
    images = torch.stack([emoji[index].image for index in range(0, 80, 2)]).float() / 255
    found = examine(bundled(), images, shown=3)
    assert (found.verdict, found.reasons) == ("fits", ())
    assert found.result["gain"] > 3
    assert len(found.worst) == 3
    assert found.psnr[found.worst[0]] == found.psnr.min()
    bad = examine(bundled(), noise())
    assert bad.verdict == "does not fit"
    assert any("18 dB" in reason for reason in bad.reasons)
    assert bad.result["rfid"]["fid"] > found.result["rfid"]["fid"]
    assert bad.result["rfid"]["extractor"] == "lab-hog"


@pytest.mark.filterwarnings("ignore:FID over")
def test_painting_flat_squares_gains_nothing() -> None:
    smooth = F.interpolate(noise(8, 4), scale_factor=8, mode="bilinear")
    found = examine(Flat(), smooth)
    assert found.result["gain"] == pytest.approx(0, abs=1e-6)
    assert found.result["psnr_mean_of_images"] > 22
    assert found.verdict == "usable"
    assert "nearly as well" in found.reasons[0]


def measured(**changes: float) -> dict[str, float]:
    return {"psnr_mean_of_images": 25.0, "gain": 3.0, "lost": 0.0, "possible_codes_used": 0.9, **changes}


@pytest.mark.parametrize(
    ("changes", "verdict", "word"),
    [
        ({}, "fits", ""),
        ({"psnr_mean_of_images": 20.0}, "usable", "below 22 dB"),
        ({"psnr_mean_of_images": 17.0}, "does not fit", "below 18 dB"),
        ({"psnr_mean_of_images": 20.0, "gain": -1.0}, "does not fit", "better"),
        ({"gain": -1.0}, "usable", "better"),
        ({"lost": 0.2}, "usable", "20%"),
        ({"possible_codes_used": 0.02}, "fits", "smaller codebook"),
    ],
)
def test_verdicts(changes: dict[str, float], verdict: str, word: str) -> None:
    given, reasons = assess(measured(**changes), Thresholds())
    assert given == verdict
    assert word in " ".join(reasons)


def test_images_that_cannot_be_judged() -> None:
    with pytest.raises(UserError, match="at least 2"):
        examine(Flat(), noise(1))
    with pytest.raises(UserError, match="multiples of 4"):
        examine(bundled(), noise(2, 30))
