"""Encoders without weights against the functions that they wrap."""

import pytest
import torch
import torch.nn.functional as F

from mimgen.encoders.plain import HogEncoder, PixelEncoder
from mimgen.errors import UserError
from mimgen.ops.hog import hog, hog_cells
from mimgen.probing import extract, raw_pixels

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_whole_pixels_are_the_raw_pixel_baseline() -> None:
    encoder = PixelEncoder(32)
    features = extract(encoder, IMAGES).joined
    torch.testing.assert_close(features, raw_pixels(IMAGES))
    assert features.shape[1] == encoder.dim == 768


def test_pixel_patches_are_cut_out_of_the_image() -> None:
    tokens = PixelEncoder(32, 8)(IMAGES)
    assert tokens.grid == (4, 4) and tokens.patches.shape == (2, 16, 192)
    cut = IMAGES[:, :, 8:16, 24:32]  # row 1, column 3
    torch.testing.assert_close(tokens.patches[:, 1 * 4 + 3], cut.flatten(1))


def test_whole_hog() -> None:
    encoder = HogEncoder(32)
    features = extract(encoder, IMAGES).joined
    torch.testing.assert_close(features, hog(IMAGES, cell=4).flatten(1))
    assert features.shape[1] == encoder.dim == 7 * 7 * 36


def test_hog_patches_hold_their_four_quarters() -> None:
    tokens = HogEncoder(32, 8)(IMAGES)
    cells = hog_cells(IMAGES, cell=4)  # [2, 9, 8, 8]
    quarters = cells[:, :, 2:4, 4:6].flatten(1)  # patch of row 1, column 2
    torch.testing.assert_close(tokens.patches[:, 1 * 4 + 2], F.normalize(quarters, dim=1))
    assert HogEncoder(32, 8)(torch.zeros(1, 3, 32, 32)).patches.abs().max() == 0


@pytest.mark.parametrize("kind", [PixelEncoder, HogEncoder])
def test_wrong_input_is_named(kind: type[PixelEncoder] | type[HogEncoder]) -> None:
    with pytest.raises(UserError, match="divisor of the images' 32 pixels"):
        kind(32, 12)
    with pytest.raises(UserError, match="no layers"):
        kind(32)(IMAGES, layers=(0,))
    with pytest.raises(UserError, match="made for images of 64 x 64"):
        kind(64)(IMAGES)
    with pytest.raises(UserError, match="convert them to 3 channels"):
        kind(32)(IMAGES[:, :1])
    with pytest.raises(UserError, match="divide"):
        kind(24, 6)(IMAGES)


def test_hog_wants_even_patches_and_eighths() -> None:
    with pytest.raises(UserError, match="even"):
        HogEncoder(35, 5)
    with pytest.raises(UserError, match="8 x 8 cells"):
        HogEncoder(36)
