"""HOG against scikit-image and against images whose directions are known."""

import math

import numpy as np
import pytest
import torch

from mimgen.ops.hog import channel_cells, gradients, hog, hog_cells, sobel, sobel_histograms


def photograph() -> torch.Tensor:
    """[1, 3, 64, 64] double in [0, 1]: the astronaut of scikit-image."""
    data = pytest.importorskip("skimage.data")
    image = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].double() / 255
    return torch.nn.functional.interpolate(image, (64, 64), mode="bilinear", antialias=True)


def test_agrees_with_skimage_on_a_photograph() -> None:
    feature = pytest.importorskip("skimage.feature")
    image = photograph()
    ours = hog(image)[0].flatten().numpy()
    theirs = feature.hog(
        image[0].permute(1, 2, 0).numpy(), pixels_per_cell=(8, 8), cells_per_block=(2, 2), channel_axis=-1
    )
    assert ours.shape == theirs.shape == (7 * 7 * 36,)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.999


@pytest.mark.parametrize("degrees", [10, 50, 90, 130, 170])
def test_a_ramp_votes_for_its_own_direction(degrees: float) -> None:
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    angle = math.radians(degrees)
    ramp = (columns * math.cos(angle) + rows * math.sin(angle)) / 32
    cells = hog_cells(ramp[None, None])
    assert cells.shape == (1, 9, 2, 2)
    assert cells[0, :, 0, 1].argmax() == degrees // 20


def test_direction_is_unsigned() -> None:
    image = photograph()
    torch.testing.assert_close(hog(image), hog(1 - image), atol=1e-3, rtol=0)
    strength, angle = gradients(image)
    assert strength.min() >= 0
    assert angle.min() >= 0
    assert angle.max() < math.pi


def test_a_flat_image_has_no_edges() -> None:
    assert hog(torch.full((2, 3, 16, 16), 0.4)).abs().max() == 0


def test_turning_the_image_changes_hog() -> None:
    image = photograph()
    assert (hog(image) - hog(image.transpose(2, 3))).abs().mean() > 0.02


def test_odd_size_is_named() -> None:
    with pytest.raises(ValueError, match="divisible by the cell of 8 px"):
        hog_cells(torch.zeros(1, 3, 12, 16))


def edge(side: int = 16) -> torch.Tensor:
    """[1, 1, side, side], dark left, bright right: a vertical edge."""
    return (torch.arange(side) >= side // 2).float().expand(1, 1, side, side).contiguous()


def test_sobel_agrees_with_the_filter() -> None:
    image = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    kernel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1), mode="reflect").flatten(0, 1)[:, None]
    wanted = torch.nn.functional.conv2d(padded, torch.stack([kernel, kernel.T])[:, None]).unflatten(0, (2, 3))
    torch.testing.assert_close(torch.stack(sobel(image), dim=2), wanted)


def test_a_mirrored_border_has_no_gradient_across_it() -> None:
    across, down = sobel(torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert across[..., [0, -1]].abs().max() == 0
    assert down[..., [0, -1], :].abs().max() == 0


def test_sobel_histograms_of_flat_images_and_of_edges() -> None:
    assert sobel_histograms(torch.full((2, 3, 16, 16), 0.4)).abs().max() == 0
    upright = sobel_histograms(edge(), cell=8)
    # the angle is counted from the vertical axis: across is 90 degrees, the middle of nine bins, down is 0
    assert upright.argmax(2).unique().tolist() == [4]
    assert sobel_histograms(edge().transpose(2, 3), cell=8).argmax(2).unique().tolist() == [0]
    torch.testing.assert_close(upright.sum(2), torch.ones(1, 1, 2, 2))


def test_sobel_histograms_ignore_a_constant_and_the_strength_and_keep_channels_apart() -> None:
    image = torch.randint(0, 32, (1, 3, 16, 16), generator=torch.Generator().manual_seed(0)) / 32
    found = sobel_histograms(image, cell=4)
    assert found.shape == (1, 3, 9, 4, 4)
    torch.testing.assert_close(found, sobel_histograms(image + 0.5, cell=4))
    torch.testing.assert_close(found, sobel_histograms(image * 4, cell=4))
    torch.testing.assert_close(found[:, 1:2], sobel_histograms(image[:, 1:2], cell=4))
    raw = sobel_histograms(image, cell=4, normalise=False)
    torch.testing.assert_close(torch.nn.functional.normalize(raw, dim=2), found)


def test_offset_and_weights_of_sobel_histograms() -> None:
    flat = torch.full((1, 1, 8, 8), 0.4)
    moved = sobel_histograms(flat, cell=8, offset=torch.tensor([3.0, 0.0]), normalise=False)
    assert moved.argmax(2).item() == 4
    assert moved.sum().item() == pytest.approx(3.0)
    weights = torch.zeros(16, 16)
    weights[:8] = 2
    plain, weighted = (sobel_histograms(edge(), cell=8, weights=w, normalise=False) for w in (None, weights))
    torch.testing.assert_close(weighted[..., 0, :], 2 * plain[..., 0, :])
    assert weighted[..., 1, :].abs().max() == 0


def test_channel_cells_are_hog_cells_of_each_channel() -> None:
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = channel_cells(image, cell=8)
    for channel in range(3):
        torch.testing.assert_close(found[:, channel], hog_cells(image[:, channel : channel + 1]))
    with pytest.raises(ValueError, match="divisible by the cell of 8 px"):
        sobel_histograms(torch.zeros(1, 3, 12, 16))
