"""Block masks: exact counts, blocks rather than dots, each row its own stream."""

import math
from random import Random

import pytest
import torch

from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.types import SampleRNG


@pytest.mark.parametrize(
    ("count", "minimum", "grid"),
    [(75, 16, (14, 14)), (6, 2, (4, 4)), (30, 4, (6, 9)), (15, 16, (4, 4)), (1, 16, (8, 8))],
)
def test_counts_are_exact(count, minimum, grid):
    mask = Block(count, minimum)(grid, SampleRNG(range(50)))
    assert mask.masked.shape == (50, grid[0] * grid[1])
    assert mask.masked.sum(1).unique().tolist() == [count]
    assert mask.keep.shape == (50, grid[0] * grid[1] - count)


def test_masked_patches_have_hidden_neighbours():
    def adjacency(masked):
        cells = masked.unflatten(1, (14, 14)).float()
        return float((cells[:, 1:] * cells[:, :-1]).sum() + (cells[:, :, 1:] * cells[:, :, :-1]).sum())

    blocks = Block(75)((14, 14), SampleRNG(range(100))).masked
    random = torch.rand(100, 196, generator=torch.Generator().manual_seed(0)).argsort(1).argsort(1) < 75
    assert adjacency(blocks) > 1.8 * adjacency(random)


def one_by_one(random, side, count, minimum):
    """BEiT v2's procedure: rectangles until the count is reached, then single cells."""
    masked, missing = torch.zeros(side, side), count
    while missing:
        for _ in range(10):
            area = random.uniform(minimum, missing)
            aspect = math.exp(random.uniform(math.log(0.3), -math.log(0.3)))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if width < side and height < side:
                top, left = random.randint(0, side - height), random.randint(0, side - width)
                fresh = int((1 - masked[top : top + height, left : left + width]).sum())
                if 0 < fresh <= missing:
                    masked[top : top + height, left : left + width] = 1
                    missing -= fresh
                    break
        else:
            break
    free = [cell for cell in range(side * side) if not masked.view(-1)[cell]]
    masked.view(-1)[random.sample(free, missing)] = 1
    return masked


def folded(share):
    """The mean over the eight symmetries of the square."""
    return sum(torch.rot90(share, turn) + torch.rot90(share.T, turn) for turn in range(4)) / 8


def test_places_are_hidden_as_often_as_one_by_one():
    random = Random(0)
    theirs = torch.stack([one_by_one(random, 8, 30, 8) for _ in range(400)]).mean(0)
    ours = Block(30, 8)((8, 8), SampleRNG(range(400))).masked.float().mean(0).view(8, 8)
    assert float((folded(ours) - folded(theirs)).abs().max()) < 0.04
    assert float(ours.min()) > 0
    assert float(ours.max()) < 0.9


def test_a_row_depends_on_its_own_seed_only():
    together = Block(20, 4)((8, 8), SampleRNG([3, 1, 7])).masked
    assert torch.equal(together[1:2], Block(20, 4)((8, 8), SampleRNG([1])).masked)
    assert not torch.equal(together[0], together[2])


def test_too_many_are_refused():
    with pytest.raises(UserError, match=r"1\.\.15"):
        Block(16)((4, 4), SampleRNG([0]))
