"""Distances of pixels and spectra: by hand, zero where they must be, and where gradients flow."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.methods.a2mim.target import Criterion, FrequencyDistance, focal_distance, spatial_distance

FILLS = ("true", "predicted", "mean", "mixed")


def example():
    generator = torch.Generator().manual_seed(0)
    sampled, true = (torch.rand(2, 3, 8, 8, generator=generator) for _ in range(2))
    masked = torch.zeros(2, 1, 8, 8)
    masked[..., :4] = 1
    return sampled.requires_grad_(True), true, masked


def test_criteria_by_hand():
    output, goal = torch.tensor([0.0, 3.0]), torch.tensor([0.0, 1.0])
    assert Criterion()(output, goal).tolist() == [0, 2]
    assert Criterion("squared")(output, goal).tolist() == [0, 4]
    weight = 2 * torch.tensor(0.2 * 2).sigmoid() - 1
    torch.testing.assert_close(Criterion(focal=True)(output, goal)[1], 2 * weight)
    torch.testing.assert_close(Criterion(focal=True, power=2, residual=True)(output, goal)[1], 2 + 2 * weight**2)
    tanh = Criterion(focal=True, sharpness=1.0, activation="tanh")(output, goal)[1]
    torch.testing.assert_close(tanh, 2 * torch.tensor(2.0).tanh())
    with pytest.raises(UserError, match="distance"):
        Criterion("cosine")


def test_spatial_distance_is_a_mean_over_scored_pixels_and_channels():
    sampled, true, masked = example()
    expected = (sampled - true).abs()[..., :4].mean()
    torch.testing.assert_close(spatial_distance(Criterion(), sampled, true, masked), expected)
    assert spatial_distance(Criterion(), sampled, true, 0 * masked) == 0
    part = spatial_distance(Criterion(), sampled, true, masked + 0.5 * (1 - masked))
    torch.testing.assert_close(part, (expected + 0.5 * (sampled - true).abs()[..., 4:].mean()) / 1.5)


@pytest.mark.parametrize("fill", FILLS)
def test_no_gradient_through_visible_pixels(fill):
    sampled, true, masked = example()
    FrequencyDistance(fill=fill)(Criterion(), sampled, true, masked).backward()
    assert sampled.grad[..., 4:].abs().max() == 0
    assert sampled.grad[..., :4].abs().min() > 0
    sampled.grad = None
    FrequencyDistance(fill=fill, visible=1e-3)(Criterion(), sampled, true, masked).backward()
    assert sampled.grad[..., 4:].abs().max() > 0


def test_fillings():
    sampled, true, masked = example()
    expected = {
        "true": true,
        "predicted": sampled,
        "mean": true.mean((2, 3), keepdim=True).expand_as(true),
        "mixed": (sampled + true) / 2,
    }
    for fill, image in expected.items():
        filled = FrequencyDistance(fill=fill).filled(sampled, true, masked)
        torch.testing.assert_close(filled[..., 4:], image[..., 4:])
        assert torch.equal(filled[..., :4], sampled[..., :4])


@pytest.mark.parametrize("focal", [True, False])
def test_zero_only_for_equal_images(focal):
    sampled, true, masked = example()
    distance = FrequencyDistance(focal, "true")
    assert distance(Criterion(), true.clone(), true, masked) == 0
    assert distance(Criterion(), sampled, true, masked) > 1e-3


def test_parseval_and_focus():
    sampled, true, masked = example()
    squared = FrequencyDistance(False, "predicted")(Criterion("squared"), sampled, true, masked)
    torch.testing.assert_close(squared, (sampled - true).square().mean())
    plain = FrequencyDistance(False, "predicted", reweigh=True)(Criterion(), sampled, true, masked)
    torch.testing.assert_close(plain, squared)
    flat = torch.zeros(1, 1, 2, 2, dtype=torch.complex64)
    output = flat.clone()
    output[..., 0, 0], output[..., 1, 1] = 3, 1j
    # weights log(1 + d) / log(1 + 3), of four frequencies
    expected = (9 + torch.tensor(2.0).log() / torch.tensor(4.0).log()) / 4
    torch.testing.assert_close(focal_distance(output, flat), expected)


def test_half_precision_is_left():
    sampled, true, masked = example()
    halves = [x.detach().half() for x in (sampled, true, masked)]
    out = FrequencyDistance()(Criterion(), *halves)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, FrequencyDistance()(Criterion(), sampled, true, masked), rtol=1e-2, atol=1e-3)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="fill 'zeros' is unknown"):
        FrequencyDistance(fill="zeros")
    with pytest.raises(UserError, match="share from 0 to 1"):
        FrequencyDistance(visible=2)
    with pytest.raises(UserError, match="activation"):
        Criterion(activation="relu")
