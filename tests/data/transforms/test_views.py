"""Crops: as cut out and resized one by one, within their bounds, and the same whatever the batch."""

import colorsys

import pytest
import torch
import torch.nn.functional as F

from mimgen.data.transforms.colours import Colours, blur, turn_hue
from mimgen.data.transforms.views import NUMBERS, MultiCrop, crop, cubic, random_boxes, random_crops, triangle
from mimgen.errors import UserError
from mimgen.types import SampleRNG


def make_images(count=4, rows=20, columns=24):
    return torch.rand(count, 3, rows, columns, generator=torch.Generator().manual_seed(0))


def boxes(count, rows, columns, scale, **options):
    return random_boxes(SampleRNG(range(count)).uniform(NUMBERS), (rows, columns), scale, **options)


@pytest.mark.parametrize(("kernel", "mode"), [(triangle, "bilinear"), (cubic, "bicubic")])
@pytest.mark.parametrize("size", [7, 30])
def test_a_crop_is_cut_out_then_resized(kernel, mode, size):
    images = make_images()
    chosen = boxes(4, 20, 24, (0.1, 0.9))
    made = crop(images, chosen, size, kernel)
    assert made.shape == (4, 3, size, size)
    for row in range(4):
        top, left, height, width = (int(v[row]) for v in (chosen.top, chosen.left, chosen.height, chosen.width))
        cut = images[row : row + 1, :, top : top + height, left : left + width]
        expected = F.interpolate(cut, (size, size), mode=mode, antialias=True, align_corners=False)[0]
        expected = expected.flip(-1) if chosen.mirrored[row] else expected
        torch.testing.assert_close(made[row], expected, atol=1e-5, rtol=0)


def test_boxes_lie_inside_and_have_the_asked_area_and_aspect():
    chosen = boxes(300, 40, 40, (0.2, 0.5))
    area, aspect = chosen.height * chosen.width / 1600, chosen.width / chosen.height
    assert (chosen.top >= 0).all() and (chosen.top + chosen.height <= 40).all()
    assert (chosen.left >= 0).all() and (chosen.left + chosen.width <= 40).all()
    # sides are rounded to pixels
    assert float(area.min()) > 0.18 and float(area.max()) < 0.52
    assert float(aspect.min()) > 0.7 and float(aspect.max()) < 1.42
    assert abs(float(area.mean()) - 0.35) < 0.02
    assert 0.4 < float(chosen.mirrored.float().mean()) < 0.6
    assert not boxes(30, 40, 40, (0.2, 0.5), flip=False).mirrored.any()


def test_where_no_box_fits_the_largest_centred_one_is_taken():
    chosen = boxes(3, 10, 40, (1.0, 1.0))
    assert chosen.height.tolist() == [10] * 3 and chosen.width.tolist() == [13] * 3
    assert chosen.left.tolist() == [14] * 3


def test_an_image_has_the_same_crop_whatever_the_batch():
    images = make_images()
    together = random_crops(images, SampleRNG([5, 6, 7, 8]), 8)
    alone = random_crops(images[2:3], SampleRNG([7]), 8)
    torch.testing.assert_close(together[2:3], alone)


def test_multi_crop():
    views = MultiCrop(16, 8, small=3)(make_images(), SampleRNG(range(4)))
    assert views.large.shape == (2, 4, 3, 16, 16) and views.small.shape == (3, 4, 3, 8, 8)
    assert float(views.large.min()) >= 0 and float(views.large.max()) <= 1
    assert not torch.equal(views.large[0], views.large[1])
    assert len(MultiCrop(16, 8, small=0)(make_images(), SampleRNG(range(4))).small) == 0
    flat = torch.full((2, 3, 20, 20), 0.25)
    plain = MultiCrop(16, 8, small=1, colours=())(flat, SampleRNG([0, 1]))
    torch.testing.assert_close(plain.large, torch.full((2, 2, 3, 16, 16), 0.25))


def test_hue_turns_as_on_the_colour_wheel():
    images = make_images(1, 3, 3)
    turned = turn_hue(images, torch.tensor(0.3).view(1, 1, 1, 1))
    for before, after in zip(images.flatten(2)[0].T, turned.flatten(2)[0].T, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before.tolist())
        expected = torch.tensor(colorsys.hsv_to_rgb((hue + 0.3) % 1, saturation, value))
        torch.testing.assert_close(after, expected, atol=1e-5, rtol=0)


def test_blur_keeps_the_mean_and_smooths_more_with_a_larger_sigma():
    images = make_images(1).expand(2, -1, -1, -1)
    soft = blur(images, torch.tensor([0.5, 3.0]))
    assert images[0].std() > soft[0].std() > soft[1].std()
    torch.testing.assert_close(blur(torch.ones(1, 3, 5, 5), torch.tensor([2.0])), torch.ones(1, 3, 5, 5))


def test_colours_by_their_chances():
    images, uniform = make_images(), torch.full((4, 9), 0.5)
    nothing = Colours(jittered=0, greyed=0, blurred=0)
    assert torch.equal(nothing(images, uniform), images)
    inverted = Colours(jittered=0, greyed=0, blurred=0, solarised=1)(images, uniform)
    torch.testing.assert_close(inverted, torch.where(images >= 0.5, 1 - images, images))
    grey = Colours(jittered=0, greyed=1, blurred=0)(images, uniform)
    assert torch.equal(grey[:, 0], grey[:, 2])
    changed = Colours(jittered=1, greyed=0, blurred=0)(images, torch.full((4, 9), 0.9))
    assert not torch.equal(changed, images) and float(changed.min()) >= 0 and float(changed.max()) <= 1


def test_mistakes_are_named():
    with pytest.raises(UserError, match="scale"):
        random_crops(make_images(), SampleRNG(range(4)), 8, scale=(0.5, 1.5))
    with pytest.raises(UserError, match="at least 1 large"):
        MultiCrop(large=0)
    with pytest.raises(UserError, match="give 3"):
        MultiCrop(colours=(Colours(),))
    with pytest.raises(UserError, match="greyed"):
        Colours(greyed=2)
    with pytest.raises(UserError, match="sigma"):
        Colours(sigma=(0.0, 1.0))
