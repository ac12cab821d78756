"""Masks that mask hard patches: exact counts, the highest scores for sure, the rest at random."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.methods.hpm.masking import Hard, hardest
from mimgen.types import SampleRNG

GRID = (6, 4)


def scores(rows=50):
    return torch.rand(rows, 24, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.25, 0.5, 0.99, 1.0])
def test_the_number_is_exact_and_the_highest_scores_are_hidden(share):
    guide, masking = scores(), Hard(0.75, share)
    masked = masking(GRID, SampleRNG(range(50)), guide).masked
    assert (masked.sum(1) == 18).all()
    sure = guide.topk(int(share * 18), dim=1).indices
    assert masked.gather(1, sure).all()


def test_the_others_are_uniform():
    guide = torch.arange(24.0).expand(2000, 24)
    rate = Hard(0.75, 0.5)(GRID, SampleRNG(range(2000)), guide).masked.float().mean(0)
    assert (rate[15:] == 1).all()
    # 9 of the 15 other patches
    assert (rate[:15] - 0.6).abs().max() < 0.05


def test_without_a_share_the_guide_does_not_matter():
    guide = scores()
    masks = [Hard(0.75, 0.0)(GRID, SampleRNG(range(50)), found).masked for found in (guide, -guide)]
    assert torch.equal(*masks)


def test_all_hard_is_the_order_of_the_scores():
    guide = scores()
    assert torch.equal(hardest(guide, torch.zeros_like(guide), 7, 7).nonzero()[:, 1].view(50, 7),
                       guide.topk(7, dim=1).indices.sort(1).values)  # fmt: skip


def test_mistakes_are_named():
    with pytest.raises(UserError, match="between 0 and 1"):
        Hard(share=1.5)
    with pytest.raises(UserError, match="mask ratio"):
        Hard(ratio=1.0)
    with pytest.raises(UserError, match="one score per patch"):
        Hard()(GRID, SampleRNG([0]), torch.zeros(1, 9))
    with pytest.raises(UserError, match="masks all"):
        Hard(0.99)((2, 2), SampleRNG([0]), torch.zeros(1, 4))
