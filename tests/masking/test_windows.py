"""One visible patch in every window."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.masking import Windows
from mimgen.types import SampleRNG


@pytest.mark.parametrize("side", [2, 3])
def test_every_window_keeps_one_patch(side: int) -> None:
    masked = Windows(side)((6, 12), SampleRNG(range(5))).masked.view(5, 6, 12)
    windows = masked.unfold(1, side, side).unfold(2, side, side).flatten(3)
    assert windows.shape[1:3] == (6 // side, 12 // side)
    assert ((~windows).sum(-1) == 1).all()


def test_every_patch_is_kept_equally_often() -> None:
    kept = ~Windows()((4, 4), SampleRNG(range(4000))).masked
    assert torch.allclose(kept.float().mean(0), torch.full((16,), 0.25), atol=0.03)


@pytest.mark.parametrize("grid", [(4, 5), (5, 4)])
def test_refuses_a_grid_without_whole_windows(grid: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="choose images with a multiple of 2 patches"):
        Windows()(grid, SampleRNG([0]))


def test_refuses_windows_that_hide_nothing() -> None:
    with pytest.raises(UserError, match="choose at least 2"):
        Windows(1)
