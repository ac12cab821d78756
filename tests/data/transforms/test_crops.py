import torch
from torch.testing import assert_close

from mimgen.data.transforms.crops import resized_crops
from mimgen.types import SampleRNG


def ramp():
    """An image whose channels are its column and row, from 0 to 1."""
    positions = (torch.arange(32) + 0.5) / 32
    return torch.stack(
        [positions.expand(32, 32), positions[:, None].expand(32, 32), torch.zeros(32, 32)]
    ).repeat(8, 1, 1, 1)


def test_crops_lie_inside_and_have_the_area_asked_for():
    crops = resized_crops(ramp(), SampleRNG(range(8)).uniform(5), 16, (0.25, 0.25))
    assert crops.shape == (8, 3, 16, 16)
    assert float(crops.min()) >= 0
    assert float(crops.max()) <= 1
    # extent of the ramp between the outermost pixel centres
    width = (crops[:, 0, 0, -1] - crops[:, 0, 0, 0]) * 16 / 15
    height = (crops[:, 1, -1, 0] - crops[:, 1, 0, 0]) * 16 / 15
    assert_close(width.abs() * height, torch.full((8,), 0.25), atol=0.02, rtol=0)
    assert bool((height > 0).all())
    assert 0 < int((width < 0).sum()) < 8, "some rows are mirrored, not all"


def test_the_whole_image_is_the_largest_crop():
    crops = resized_crops(ramp(), SampleRNG([3]).uniform(5).expand(8, -1), 32, (4.0, 4.0))
    assert_close(crops.sort(-1).values, ramp()[:1].repeat(8, 1, 1, 1)[:8], atol=1e-5, rtol=0)


def test_a_row_depends_on_its_own_stream():
    several = resized_crops(ramp(), SampleRNG(range(8)).uniform(5), 16)
    assert_close(resized_crops(ramp()[:1], SampleRNG([5]).uniform(5), 16), several[5:6])
