"""PSNR, SSIM and codebook use against scikit-image and against hand-made tokenizers."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.evaluation import codebook_usage, evaluate_reconstruction, psnr, ssim
from mimgen.types import Codes


def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 3, 16, 20, generator=generator)
    noise = (
        torch.randn(images.shape, generator=generator) * torch.tensor([0.01, 0.1, 0.3])[:, None, None, None]
    )
    return (images + noise).clamp(0, 1), images


def test_psnr_agrees_with_skimage() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    made, images = pair()
    expected = [
        metrics.peak_signal_noise_ratio(b.numpy(), a.numpy(), data_range=1)
        for a, b in zip(made, images, strict=True)
    ]
    np.testing.assert_allclose(psnr(made, images).numpy(), expected, rtol=1e-5)


def test_ssim_agrees_with_skimage() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    made, images = pair()
    for ours, a, b in zip(ssim(made, images), made, images, strict=True):
        # with these options skimage computes the SSIM of the paper; its mean leaves out the border
        theirs = metrics.structural_similarity(
            a.double().numpy(), b.double().numpy(), channel_axis=0, data_range=1.0,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )  # fmt: skip
        assert abs(float(ours) - theirs) < 1e-6


def test_identical_images() -> None:
    images = pair()[1]
    assert psnr(images, images).tolist() == [100.0] * 3
    torch.testing.assert_close(ssim(images, images), torch.ones(3, dtype=torch.float64))


def test_worse_images_score_worse() -> None:
    made, images = pair()
    for measured in (psnr(made, images), ssim(made, images)):
        assert measured[0] > measured[1] > measured[2]


def test_codebook_usage() -> None:
    usage = codebook_usage(torch.tensor([[0, 0], [3, 3]]), 8)
    assert (usage["active"], usage["dead"], usage["usage"]) == (2, 6, 0.25)
    assert usage["perplexity"] == pytest.approx(2.0)
    assert codebook_usage(torch.arange(8), 8)["perplexity"] == pytest.approx(8.0)
    with pytest.raises(UserError, match="codebook_size is 8"):
        codebook_usage(torch.tensor([8]), 8)


class Rounding(torch.nn.Module):
    """Codes are the grey levels of the first pixel of 2 x 2; decodes to a shifted or exact image."""

    def __init__(self, offsets: Tensor, codebook_size: int = 4) -> None:
        super().__init__()
        self.offsets, self.codebook_size, self.seen_training = offsets, codebook_size, False

    def encode(self, images: Tensor) -> Codes:
        self.seen_training |= self.training
        indices = (images[:, 0, ::2, ::2] * 3.99).long() if self.codebook_size else None
        return Codes(indices, images)

    def decode(self, codes: Codes) -> Tensor:
        return (
            codes.latents + self.offsets[codes.latents.flatten(1).mean(1).gt(0.5).long()][:, None, None, None]
        )


def test_both_psnr_are_reported_and_differ() -> None:
    images = torch.cat([torch.full((1, 3, 16, 16), 0.25), torch.full((1, 3, 16, 16), 0.75)])
    tokenizer = Rounding(torch.tensor([0.1, 0.01])).train()
    result = evaluate_reconstruction(tokenizer, images, batch_size=1)
    assert result["psnr_mean_of_images"] == pytest.approx((20 + 40) / 2, abs=1e-3)
    assert result["psnr_of_mean_mse"] == pytest.approx(-10 * np.log10((0.01 + 0.0001) / 2), abs=1e-3)
    assert result["l1"] == pytest.approx(0.055, abs=1e-5)
    assert result["codebook"]["active"] == 2
    assert result["codebook"]["tokens"] == 128
    assert not tokenizer.seen_training
    assert tokenizer.training
    assert evaluate_reconstruction(tokenizer, images, batch_size=2) == result


def test_continuous_tokenizer_has_no_codebook() -> None:
    tokenizer = Rounding(torch.zeros(2), codebook_size=0)
    result = evaluate_reconstruction(tokenizer, pair()[1])
    assert result["codebook"] is None
    assert result["psnr_mean_of_images"] == 100


def test_broken_input_is_named() -> None:
    made, images = pair()
    with pytest.raises(UserError, match="and equal"):
        psnr(made, images[:2])
    with pytest.raises(UserError, match="11 px window"):
        ssim(made[..., :8], images[..., :8])
    with pytest.raises(UserError, match="diverged"):
        evaluate_reconstruction(Rounding(torch.full((2,), torch.nan)), images)
