"""Cells of images and volumes: order, round trip, mistakes."""

import pytest
import torch
import torch.nn.functional as F

from mimgen.errors import UserError
from mimgen.methods.hiendmae.cells import cells_of, cut, join


@pytest.mark.parametrize(("sides", "cell"), [((8, 12), (2, 3)), ((4, 6, 8), (2, 3, 4)), ((4, 4, 4), (4, 2, 1))])
def test_round_trip(sides, cell):
    volumes = torch.rand(2, 3, *sides)
    cells = cut(volumes, cell)
    assert cells.shape == (2, volumes[0, 0].numel() // torch.Size(cell).numel(), 3 * torch.Size(cell).numel())
    assert torch.equal(join(cells, cells_of(sides, cell), cell), volumes)


def test_order_of_cells_and_of_their_numbers():
    volumes = torch.arange(2 * 4 * 4 * 4.0).reshape(1, 2, 4, 4, 4)
    cells = cut(volumes, (2, 2, 2))
    # cell 5 is (1, 0, 1): planes 2-3, rows 0-1, columns 2-3; positions first, then channels
    part = volumes[0, :, 2:4, 0:2, 2:4]
    assert torch.equal(cells[0, 5], part.permute(1, 2, 3, 0).flatten())
    assert torch.equal(cut(volumes, (2, 2, 2), last=False)[0, 5], part.flatten())
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(cut(images, (4, 4), last=False), F.pixel_unshuffle(images, 4).flatten(2).transpose(1, 2))


def test_mistakes_are_named():
    with pytest.raises(UserError, match="4 x 5 does not divide into cells of 2 x 2"):
        cut(torch.zeros(1, 1, 4, 5), (2, 2))
    with pytest.raises(UserError, match="does not divide"):
        cells_of((4, 4, 4), (2, 2))
