"""Lab colour against scikit-image."""

import numpy as np
import pytest
import torch

from mimgen.ops.lab import rgb_to_lab


def test_agrees_with_skimage() -> None:
    color = pytest.importorskip("skimage.color")
    images = torch.rand(3, 3, 8, 9, generator=torch.Generator().manual_seed(0)).double()
    images[0, :, 0, 0], images[0, :, 0, 1], images[0, :, 0, 2] = 0.0, 1.0, 0.003
    expected = color.rgb2lab(images.permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(rgb_to_lab(images).permute(0, 2, 3, 1).numpy(), expected, atol=1e-3)


def test_known_colours() -> None:
    colours = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0]])[:, :, None, None]
    expected = torch.tensor([[100.0, 0, 0], [0, 0, 0], [53.24, 80.09, 67.2]])
    torch.testing.assert_close(rgb_to_lab(colours)[:, :, 0, 0], expected, atol=0.05, rtol=0)


def test_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\]"):
        rgb_to_lab(torch.zeros(1, 4, 8, 8))
