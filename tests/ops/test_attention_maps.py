"""Measures of attention maps against closed forms."""

import math

import pytest
import torch

from mimgen.errors import UserError
from mimgen.ops.attention_maps import (
    attention_distance,
    attention_nmi,
    grid_distances,
    head_similarity,
    patch_attention,
)


def test_distances_of_a_grid_are_euclidean_in_pixels() -> None:
    distances = grid_distances((2, 3), 16)
    assert distances.shape == (6, 6)
    assert distances[0].tolist() == pytest.approx([0, 16, 32, 16, 16 * math.sqrt(2), 16 * math.sqrt(5)])
    assert torch.equal(distances, distances.T)


def test_uniform_attention_reaches_the_grid_mean_and_tells_nothing() -> None:
    maps = torch.full((2, 3, 10, 10), 0.1)  # a class token and 3 x 3 patches
    pairs = [math.dist((a // 3, a % 3), (b // 3, b % 3)) for a in range(9) for b in range(9)]
    expected = 8 * sum(pairs) / 81
    assert attention_distance(maps, (3, 3), 8).flatten().tolist() == pytest.approx([expected] * 6)
    assert attention_nmi(maps).abs().max() < 1e-9
    assert head_similarity(maps).tolist() == pytest.approx([1, 1])


def test_looking_at_oneself_reaches_nothing_and_tells_everything() -> None:
    maps = torch.eye(7)[None]
    assert float(attention_distance(maps, (2, 3), 16)[0]) == pytest.approx(0, abs=1e-20)
    assert float(attention_nmi(maps)[0]) == pytest.approx(1, abs=1e-5)


def test_nmi_of_two_groups_is_their_share() -> None:
    # four patches, two groups that look at themselves: I = H(k given uniform) - ln 2 = ln 4 - ln 2
    maps = torch.block_diag(torch.full((2, 2), 0.5), torch.full((2, 2), 0.5))
    assert float(attention_nmi(maps, prefix=0)) == pytest.approx(math.log(2) / math.log(4), abs=1e-6)


def test_all_queries_looking_at_one_key_tell_nothing() -> None:
    maps = torch.zeros(4, 4)
    maps[:, 2] = 1
    assert float(attention_nmi(maps, prefix=0)) == pytest.approx(0, abs=1e-6)


def test_prefix_tokens_are_dropped_and_rows_scaled() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(2, 6, 6, generator=generator).softmax(-1)
    among = patch_attention(maps, prefix=2)
    assert among.shape == (2, 4, 4)
    assert torch.allclose(among.sum(-1), torch.ones(2, 4, dtype=torch.float64))
    by_hand = maps[:, 2:, 2:].double()
    assert torch.allclose(among, by_hand / by_hand.sum(-1, keepdim=True))
    # a row that attends to the class token only falls back to looking everywhere
    alone = torch.zeros(3, 3)
    alone[:, 0] = 1
    assert torch.allclose(patch_attention(alone), torch.full((2, 2), 0.5, dtype=torch.float64))


def test_heads_that_look_at_different_places_are_not_alike() -> None:
    one = torch.eye(4)
    maps = torch.stack([one, one.roll(1, 1), one])[None]
    assert float(head_similarity(maps, prefix=0)[0]) == pytest.approx(1 / 3)  # one pair of three agrees
    assert head_similarity(maps[:, :1], prefix=0).isnan().all()


def test_bad_maps_are_refused() -> None:
    with pytest.raises(UserError, match="prefix tokens"):
        attention_nmi(torch.rand(2, 5, 4))
    with pytest.raises(UserError, match="prefix tokens"):
        attention_nmi(torch.rand(2, 2), prefix=1)
    with pytest.raises(UserError, match="do not fit a grid of 3 x 3"):
        attention_distance(torch.rand(5, 5), (3, 3), 4)
    with pytest.raises(UserError, match="NaN"):
        attention_nmi(torch.full((5, 5), torch.nan))
