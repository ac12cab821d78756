"""HOG against scikit-image and against pictures whose directions are known."""

import math

import numpy as np
import pytest
import torch

from mimgen.ops.hog import gradients, hog, hog_cells


def photograph() -> torch.Tensor:
    """[1, 3, 64, 64] double in [0, 1]: the astronaut of scikit-image."""
    data = pytest.importorskip("skimage.data")
    picture = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].double() / 255
    return torch.nn.functional.interpolate(picture, (64, 64), mode="bilinear", antialias=True)


def test_agrees_with_skimage_on_a_photograph() -> None:
    feature = pytest.importorskip("skimage.feature")
    picture = photograph()
    ours = hog(picture)[0].flatten().numpy()
    theirs = feature.hog(
        picture[0].permute(1, 2, 0).numpy(), pixels_per_cell=(8, 8), cells_per_block=(2, 2), channel_axis=-1
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
    picture = photograph()
    torch.testing.assert_close(hog(picture), hog(1 - picture), atol=1e-3, rtol=0)
    strength, angle = gradients(picture)
    assert strength.min() >= 0
    assert angle.min() >= 0
    assert angle.max() < math.pi


def test_a_flat_picture_has_no_edges() -> None:
    assert hog(torch.full((2, 3, 16, 16), 0.4)).abs().max() == 0


def test_turning_the_picture_changes_hog() -> None:
    picture = photograph()
    assert (hog(picture) - hog(picture.transpose(2, 3))).abs().mean() > 0.02


def test_odd_size_is_named() -> None:
    with pytest.raises(ValueError, match="divisible by the cell of 8 px"):
        hog_cells(torch.zeros(1, 3, 12, 16))
