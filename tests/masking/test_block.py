"""Block masks: exact counts, blocks rather than dots, each row its own stream."""

import math
from random import Random

import pytest
import torch

from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.types import Draws


@pytest.mark.parametrize(
    ("count", "least", "grid"),
    [(75, 16, (14, 14)), (6, 2, (4, 4)), (30, 4, (6, 9)), (15, 16, (4, 4)), (1, 16, (8, 8))],
)
def test_counts_are_exact(count, least, grid):
    mask = Block(count, least)(grid, Draws(range(50)))
    assert mask.hidden.shape == (50, grid[0] * grid[1])
    assert mask.hidden.sum(1).unique().tolist() == [count]
    assert mask.keep.shape == (50, grid[0] * grid[1] - count)


def test_hidden_patches_have_hidden_neighbours():
    def adjacency(hidden):
        cells = hidden.unflatten(1, (14, 14)).float()
        return float((cells[:, 1:] * cells[:, :-1]).sum() + (cells[:, :, 1:] * cells[:, :, :-1]).sum())

    blocks = Block(75)((14, 14), Draws(range(100))).hidden
    random = torch.rand(100, 196, generator=torch.Generator().manual_seed(0)).argsort(1).argsort(1) < 75
    assert adjacency(blocks) > 1.8 * adjacency(random)


def one_by_one(random, side, count, least):
    """BEiT v2's procedure: rectangles until the count is reached, then single cells."""
    hidden, missing = torch.zeros(side, side), count
    while missing:
        for _ in range(10):
            area = random.uniform(least, missing)
            aspect = math.exp(random.uniform(math.log(0.3), -math.log(0.3)))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if width < side and height < side:
                top, left = random.randint(0, side - height), random.randint(0, side - width)
                fresh = int((1 - hidden[top : top + height, left : left + width]).sum())
                if 0 < fresh <= missing:
                    hidden[top : top + height, left : left + width] = 1
                    missing -= fresh
                    break
        else:
            break
    free = [cell for cell in range(side * side) if not hidden.view(-1)[cell]]
    hidden.view(-1)[random.sample(free, missing)] = 1
    return hidden


def folded(share):
    """The mean over the eight symmetries of the square."""
    return sum(torch.rot90(share, turn) + torch.rot90(share.T, turn) for turn in range(4)) / 8


def test_places_are_hidden_as_often_as_one_by_one():
    random = Random(0)
    theirs = torch.stack([one_by_one(random, 8, 30, 8) for _ in range(400)]).mean(0)
    ours = Block(30, 8)((8, 8), Draws(range(400))).hidden.float().mean(0).view(8, 8)
    assert float((folded(ours) - folded(theirs)).abs().max()) < 0.04
    assert float(ours.min()) > 0
    assert float(ours.max()) < 0.9


def test_a_row_depends_on_its_own_seed_only():
    together = Block(20, 4)((8, 8), Draws([3, 1, 7])).hidden
    assert torch.equal(together[1:2], Block(20, 4)((8, 8), Draws([1])).hidden)
    assert not torch.equal(together[0], together[2])


def test_too_many_are_refused():
    with pytest.raises(UserError, match=r"1\.\.15"):
        Block(16)((4, 4), Draws([0]))
