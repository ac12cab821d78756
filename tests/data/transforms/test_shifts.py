"""Shifted views: where pixels come from, one change of colour each, nothing but the random numbers decides."""

import pytest
import torch

from mimgen.data.transforms.shifts import ShiftedViews, shifted
from mimgen.errors import UserError
from mimgen.types import SampleRNG


def make_images(count=6, size=12):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_shifts_and_mirrors():
    images = make_images(3)
    middle = torch.tensor([[0.5, 0.5, 0.9], [0.5, 0.5, 0.1], [0.0, 0.99, 0.9]])
    same, mirrored, moved = shifted(images, middle, 2)
    assert torch.equal(same, images[0])
    assert torch.equal(mirrored, images[1].flip(2))
    # up to two pixels come in at the top and go out at the left
    assert torch.equal(moved[:, 2:, :-2], images[2, :, :-2, 2:])
    assert torch.equal(moved[:, 0, :-2], images[2, :, 2, 2:])


def test_every_shift_occurs_equally_often():
    ramp = torch.arange(8.0).expand(3000, 1, 8, 8)
    views = shifted(ramp, torch.cat([SampleRNG(range(3000)).uniform(2), torch.full((3000, 1), 0.9)], dim=1), 1)
    middle = views[:, 0, 0, 4]
    shares = [float((middle == value).float().mean()) for value in (3, 4, 5)]
    assert all(abs(share - 1 / 3) < 0.04 for share in shares)


def test_two_views_in_range_from_the_draws_alone():
    images = make_images()
    first, second = ShiftedViews(2)(images, SampleRNG(range(6)))
    again = ShiftedViews(2)(images, SampleRNG(range(6)))
    assert torch.equal(first, again[0]) and torch.equal(second, again[1])
    assert first.shape == second.shape == images.shape
    assert float(second.min()) >= 0 and float(second.max()) <= 1
    # a row does not depend on its batch
    alone = ShiftedViews(2)(images[3:4], SampleRNG([3]))
    torch.testing.assert_close(alone[1][0], second[3])
    # the first view has the pixels of the image
    assert all(set(view.flatten().tolist()) <= set(image.flatten().tolist()) for view, image in zip(first, images))


def test_the_second_view_is_grey_or_blurred_or_solarised():
    images = make_images(300)
    second = ShiftedViews(2)(images, SampleRNG(range(300)))[1]
    grey = (second.amax(1) - second.amin(1)).amax((1, 2)) < 1e-5
    assert 0.25 < float(grey.float().mean()) < 0.42
    dark = second.amax((1, 2, 3)) < 0.5
    assert float((dark & grey).float().mean()) < 0.02


def test_too_large_a_shift_is_named():
    with pytest.raises(UserError, match="too large"):
        ShiftedViews(12)(make_images(), SampleRNG(range(6)))
    with pytest.raises(UserError, match="0 for none"):
        ShiftedViews(-1)
