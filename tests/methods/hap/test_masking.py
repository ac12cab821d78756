"""Part-guided masks: fixed counts, parts first at every place of a batch, independent views."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.methods.hap.masking import BODY, Parts, by_priority, part_patches
from mimgen.types import SampleRNG

GRID = (16, 8)


def rng(count, seed=0):
    return SampleRNG.for_rows(seed, 0, range(count))


def body(count=1):
    """A person who stands in an image of 256 x 128 pixels."""
    joints = [
        (64, 30), (70, 24), (58, 24), (76, 26), (52, 26), (88, 60), (40, 60), (100, 100), (28, 100), (108, 136),
        (20, 136), (80, 140), (48, 140), (82, 190), (46, 190), (84, 240), (44, 240),
    ]  # fmt: skip
    positions = torch.tensor(joints, dtype=torch.float32)
    return torch.cat([positions, torch.ones(17, 1)], dim=1).expand(count, -1, -1).clone()


@pytest.mark.parametrize("blocks", [True, False])
def test_the_count_is_fixed_whatever_is_known(blocks):
    known = body(4)
    known[1, :, 2] = 0
    known[2, 5:, 2] = 0
    masks = Parts(blocks=blocks)(GRID, rng(4), part_patches(known, GRID, 16))
    assert masks.masked.sum(1).tolist() == [64] * 4
    for ratio, masked in ((0.6, 77), (0.75, 96)):
        mask = Parts(ratio, blocks=blocks)(GRID, rng(4), part_patches(known, GRID, 16))
        assert mask.masked.sum(1).tolist() == [masked] * 4


def test_parts_are_hidden_more_often_at_every_place_of_the_batch():
    guide = part_patches(body(16), GRID, 16)
    inside = guide.any(1)
    share = torch.zeros(16, 2)
    for seed in range(60):
        masked = Parts(share=1.0, blocks=False)(GRID, rng(16, seed), guide).masked
        for row in range(16):
            share[row, 0] += masked[row, inside[row]].float().mean()
            share[row, 1] += masked[row, ~inside[row]].float().mean()
    assert (share[:, 0] / share[:, 1]).min() > 1.2


def test_without_joints_all_patches_are_alike():
    guide = torch.zeros(400, 6, 32, dtype=torch.bool)
    masked = Parts(blocks=False)((8, 4), rng(400), guide).masked
    assert (masked.float().mean(0) - 0.5).abs().max() < 0.12
    unguided = Parts(maximum=0, blocks=False)
    assert torch.equal(unguided((8, 4), rng(9), ~guide[:9]).masked, unguided((8, 4), rng(9), guide[:9]).masked)


def test_two_masks_from_one_stream_are_independent_and_the_same_seed_repeats_them():
    guide, stream = part_patches(body(64), GRID, 16), rng(64)
    first, second = (Parts(blocks=False)(GRID, stream, guide).masked for _ in range(2))
    assert not torch.equal(first, second)
    assert abs((first & second).float().mean() - 0.25) < 0.03
    assert torch.equal(Parts(blocks=False)(GRID, rng(64), guide).masked, first)


def test_numbers_of_parts_and_shares():
    guide = torch.zeros(300, 6, 60, dtype=torch.bool)
    for part in range(5):
        guide[:, part, 10 * part : 10 * part + 10] = True
    # the last part is empty and takes no place
    first = Parts(share=0.3).first(guide, rng(300))
    per_part = (first.unflatten(1, (6, 10)) > 0).sum(2)
    assert per_part.max() <= 2 and per_part[:, 5].max() == 0
    assert set((per_part > 0).sum(1).tolist()) <= set(range(6))
    assert (per_part > 0).sum(1).max() >= 4
    levels = first[first > 0].unique().tolist()
    assert levels == [96.0, 97.0, 98.0, 99.0, 100.0]
    alone = Parts(maximum=1, share=1.0).first(guide, rng(300))
    touched = (alone.unflatten(1, (6, 10)) > 0).any(2).sum(1)
    assert set(touched.tolist()) == {0, 1}


def test_patches_of_parts():
    guide = part_patches(body(), GRID, 16)
    assert guide.shape == (1, 6, 128)
    arm = guide[0, 1].unflatten(0, GRID).nonzero()
    # shoulder (row 3, column 5), elbow (6, 6), wrist (8, 6)
    assert arm.amin(0).tolist() == [3, 5] and arm.amax(0).tolist() == [8, 6]
    assert int(guide[0, 1].sum()) == 4 * 2 + 2
    trunk = guide[0, 5].unflatten(0, GRID).nonzero()
    assert trunk.amin(0).tolist() == [3, 2] and trunk.amax(0).tolist() == [8, 5]
    for part, bones in enumerate(BODY):
        blind = body()
        blind[0, list({joint for bone in bones for joint in bone}), 2] = 0
        assert not part_patches(blind, GRID, 16)[0, part].any()
    beyond = body()
    beyond[0, 9] = torch.tensor([500.0, 136.0, 1.0])
    assert int(part_patches(beyond, GRID, 16)[0, 1].sum()) == 4 * 2 + 3 * 2 - 1


def test_equal_priorities_hide_the_later_patches():
    assert by_priority(torch.zeros(1, 6), 0.5).masked.tolist() == [[False] * 3 + [True] * 3]


def test_mistakes_are_named():
    with pytest.raises(UserError, match="same grid"):
        Parts()(GRID, rng(1), torch.zeros(1, 6, 4, dtype=torch.bool))
    with pytest.raises(UserError, match="ratio lies between 0 and 1"):
        Parts(ratio=1.0)
    with pytest.raises(UserError, match=r"need \[B, 17, 3\]"):
        part_patches(torch.zeros(1, 5, 3), GRID, 16)
