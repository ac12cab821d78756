"""Distances of pixels and spectra: by hand, zero where they must be, and where gradients flow."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.methods.a2mim.target import Criterion, FrequencyDistance, focal_distance, spatial_distance

FILLS = ("true", "drawn", "mean", "mixed")


def example():
    generator = torch.Generator().manual_seed(0)
    drawn, true = (torch.rand(2, 3, 8, 8, generator=generator) for _ in range(2))
    hidden = torch.zeros(2, 1, 8, 8)
    hidden[..., :4] = 1
    return drawn.requires_grad_(True), true, hidden


def test_criteria_by_hand():
    said, goal = torch.tensor([0.0, 3.0]), torch.tensor([0.0, 1.0])
    assert Criterion()(said, goal).tolist() == [0, 2]
    assert Criterion("squared")(said, goal).tolist() == [0, 4]
    weight = 2 * torch.tensor(0.2 * 2).sigmoid() - 1
    torch.testing.assert_close(Criterion(focal=True)(said, goal)[1], 2 * weight)
    torch.testing.assert_close(Criterion(focal=True, power=2, residual=True)(said, goal)[1], 2 + 2 * weight**2)
    tanh = Criterion(focal=True, sharpness=1.0, activation="tanh")(said, goal)[1]
    torch.testing.assert_close(tanh, 2 * torch.tensor(2.0).tanh())
    with pytest.raises(UserError, match="distance"):
        Criterion("cosine")


def test_spatial_distance_is_a_mean_over_scored_pixels_and_channels():
    drawn, true, hidden = example()
    expected = (drawn - true).abs()[..., :4].mean()
    torch.testing.assert_close(spatial_distance(Criterion(), drawn, true, hidden), expected)
    assert spatial_distance(Criterion(), drawn, true, 0 * hidden) == 0
    part = spatial_distance(Criterion(), drawn, true, hidden + 0.5 * (1 - hidden))
    torch.testing.assert_close(part, (expected + 0.5 * (drawn - true).abs()[..., 4:].mean()) / 1.5)


@pytest.mark.parametrize("fill", FILLS)
def test_no_gradient_through_visible_pixels(fill):
    drawn, true, hidden = example()
    FrequencyDistance(fill=fill)(Criterion(), drawn, true, hidden).backward()
    assert drawn.grad[..., 4:].abs().max() == 0
    assert drawn.grad[..., :4].abs().min() > 0
    drawn.grad = None
    FrequencyDistance(fill=fill, visible=1e-3)(Criterion(), drawn, true, hidden).backward()
    assert drawn.grad[..., 4:].abs().max() > 0


def test_fillings():
    drawn, true, hidden = example()
    expected = {
        "true": true,
        "drawn": drawn,
        "mean": true.mean((2, 3), keepdim=True).expand_as(true),
        "mixed": (drawn + true) / 2,
    }
    for fill, picture in expected.items():
        filled = FrequencyDistance(fill=fill).filled(drawn, true, hidden)
        torch.testing.assert_close(filled[..., 4:], picture[..., 4:])
        assert torch.equal(filled[..., :4], drawn[..., :4])


@pytest.mark.parametrize("focal", [True, False])
def test_zero_only_for_equal_pictures(focal):
    drawn, true, hidden = example()
    distance = FrequencyDistance(focal, "true")
    assert distance(Criterion(), true.clone(), true, hidden) == 0
    assert distance(Criterion(), drawn, true, hidden) > 1e-3


def test_parseval_and_focus():
    drawn, true, hidden = example()
    squared = FrequencyDistance(False, "drawn")(Criterion("squared"), drawn, true, hidden)
    torch.testing.assert_close(squared, (drawn - true).square().mean())
    plain = FrequencyDistance(False, "drawn", reweigh=True)(Criterion(), drawn, true, hidden)
    torch.testing.assert_close(plain, squared)
    flat = torch.zeros(1, 1, 2, 2, dtype=torch.complex64)
    said = flat.clone()
    said[..., 0, 0], said[..., 1, 1] = 3, 1j
    # weights log(1 + d) / log(1 + 3), of four frequencies
    expected = (9 + torch.tensor(2.0).log() / torch.tensor(4.0).log()) / 4
    torch.testing.assert_close(focal_distance(said, flat), expected)


def test_half_precision_is_left():
    drawn, true, hidden = example()
    halves = [x.detach().half() for x in (drawn, true, hidden)]
    out = FrequencyDistance()(Criterion(), *halves)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, FrequencyDistance()(Criterion(), drawn, true, hidden), rtol=1e-2, atol=1e-3)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="fill 'zeros' is unknown"):
        FrequencyDistance(fill="zeros")
    with pytest.raises(UserError, match="share from 0 to 1"):
        FrequencyDistance(visible=2)
    with pytest.raises(UserError, match="activation"):
        Criterion(activation="relu")
