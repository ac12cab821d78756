"""Matching, merging, unmerging and tracing back: what must hold whatever the numbers are."""

import pytest
import torch
from torch.testing import assert_close

from mimgen.errors import UserError
from mimgen.layers.merge_schedule import possible
from mimgen.layers.merging import (
    Matching,
    Merged,
    combine,
    match,
    match_every,
    match_random,
    max_mergeable,
    merge,
    merge_schedule,
    merge_schedule_to_keep,
    unmerge,
    unmerge_by_source,
)


def tokens(count=17, seed=0):
    return torch.randn(2, count, 8, generator=torch.Generator().manual_seed(seed))


def matchings():
    x = tokens()
    scores = torch.rand(2, 17, generator=torch.Generator().manual_seed(1))
    return {
        "bipartite": match(x, 5),
        "unprotected": match(x, 5, protected=0),
        "four protected": match(x, 6, protected=4),
        "random": match_random(x, 9, scores),
    }


@pytest.mark.parametrize("name", matchings())
def test_every_token_goes_to_one_place_and_every_place_holds_its_own(name):
    found = matchings()[name]
    everyone = torch.cat([found.kept, found.moved], dim=1).sort(dim=1).values
    assert torch.equal(everyone, torch.arange(17).expand(2, -1))
    assert torch.equal(found.group.gather(1, found.kept)[0], torch.arange(found.kept.shape[1]))


@pytest.mark.parametrize("name", matchings())
def test_merged_is_the_mean_of_its_group_and_unmerge_copies_it_back(name):
    found, x = matchings()[name], tokens(seed=3)
    merged, sizes = merge(x, found)
    assert float(sizes.sum()) == 2 * 17
    for row in range(2):
        for position in range(merged.shape[1]):
            members = found.group[row] == position
            assert_close(merged[row, position], x[row, members].mean(0))
            assert int(sizes[row, position]) == int(members.sum())
            assert_close(unmerge(merged, found)[row, members], merged[row, position].expand(int(members.sum()), -1))


def test_merging_in_steps_gives_the_mean_of_all_tokens_behind():
    x = tokens(24)
    merged, record = Merged.start(x).through(x, match(x, 9))
    merged, record = record.through(merged, match(merged, 6))
    assert_close(record.sizes[..., 0], record.source.sum(2).float())
    assert_close(record.source.sum(1), torch.ones(2, 24, dtype=torch.int64))
    assert_close(merged, record.source.float() @ x / record.sizes)
    assert torch.equal(record.unmerge(merged), unmerge_by_source(record.source, merged))


def test_what_is_merged_stays_as_it_was():
    x, sizes = tokens(), torch.full((2, 17, 1), 2.0)
    before = x.clone()
    merge(x, match(x, 5), sizes)
    assert torch.equal(x, before)
    assert bool((sizes == 2).all())


def test_the_most_similar_pairs_merge():
    x = torch.eye(8)[None]
    x[0, 4] = x[0, 3] + 0.1 * x[0, 7]
    x[0, 6] = x[0, 5] + 0.4 * x[0, 7]
    found = match(x, 2)
    assert found.moved.tolist() == [[4, 6]]
    assert found.kept.gather(1, found.into).tolist() == [[3, 5]]
    assert match(x, 1).moved.tolist() == [[4]]


def test_protected_tokens_come_first_and_stay_alone():
    x = tokens(20)
    x[:] = x[:, :1]  # all alike: nothing but protection keeps a token apart
    for protected in (1, 2, 3):
        found = match(x + 1e-3 * tokens(20, 5), max_mergeable(20, protected), protected=protected)
        _, sizes = merge(x, found)
        assert torch.equal(found.kept[:, :protected], torch.arange(protected).expand(2, -1))
        assert bool((sizes[:, :protected] == 1).all())


def test_every_kth_leaves_the_end_out():
    found = match_every(tokens(), 4)
    assert found.group.shape == (2, 16)
    assert found.kept.tolist() == [[3, 7, 11, 15]] * 2


def test_sum_mean_and_maximum_count_tokens_alike():
    x, found = tokens(), match(tokens(), 5)
    merged, sizes = merge(x, found)
    assert_close(combine(x, found), merged * sizes)
    assert_close(combine(x, found, "mean"), merged)
    assert bool((combine(x, found, "amax") >= merged - 1e-6).all())


def test_spread_copies_codes_and_carries_gradient():
    x = tokens()
    _, record = Merged.start(x).through(x, match(x, 5))
    codes = torch.randn(2, 12, 3, requires_grad=True)
    full = unmerge_by_source(record.source, codes)
    assert_close(full, record.source.float().transpose(1, 2) @ codes)
    full.sum().backward()
    assert_close(codes.grad, record.sizes.expand(-1, -1, 3))


def test_gradient_reaches_what_is_merged():
    x = tokens().double().requires_grad_()
    found = match(x, 5)
    assert torch.autograd.gradcheck(lambda t: merge(t, found)[0], x)


@pytest.mark.parametrize("remove", [-1, 9])
def test_more_than_half_is_refused(remove):
    with pytest.raises(UserError, match=r"a layer removes 0 to 8"):
        match(tokens(), remove)


def test_other_impossible_matchings_are_refused():
    with pytest.raises(UserError, match="one must be left"):
        match_random(tokens(), 17, torch.rand(2, 17))
    with pytest.raises(UserError, match="give 2 to 17"):
        match_every(tokens(), 1)


def test_removals():
    assert merge_schedule(4, 3) == (3, 3, 3, 3)
    assert merge_schedule(4, (5, 2)) == (5, 2, 0, 0)
    assert merge_schedule(12, (8, -0.5))[0] == 12
    assert merge_schedule(12, (8, 1.0))[0] == 0
    assert possible((9, 9, 9), 17) == (8, 4, 2)
    with pytest.raises(UserError, match="at most one per layer"):
        merge_schedule(2, [1, 2, 3])
    with pytest.raises(UserError, match="inflection"):
        merge_schedule(2, (3, 1.5))


@pytest.mark.parametrize("inflection", [-1.0, -0.5, 0.0, 0.5, 1.0])
def test_every_keep_count_is_reached_exactly(inflection):
    for keep in range(4, 65):
        plan = merge_schedule_to_keep(keep, 64, 4, inflection=inflection)
        assert sum(plan) == 64 - keep
        assert possible(plan, 65) == plan


def test_published_plan_of_256_to_144():
    plan = merge_schedule_to_keep(144, 256, 12, inflection=-0.5)
    assert plan == (12, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 5)


def test_a_ratio_is_a_share_and_bad_counts_are_refused():
    assert sum(merge_schedule_to_keep(0.5, 64, 4)) == 32
    for keep in (0, 65, 1.5):
        with pytest.raises(UserError, match="give a number in 1"):
            merge_schedule_to_keep(keep, 64, 4)
    with pytest.raises(UserError, match="to 16 at best"):
        merge_schedule_to_keep(15, 64, 2)


def test_merging_loses_what_is_named_nowhere_and_padding_of_no_size_changes_nothing():
    x, sizes = tokens(5), torch.ones(2, 5, 1)
    sizes[:, 4] = 0  # the last token pads
    kept, moved = torch.tensor([[0, 2, 3], [1, 4, 4]]), torch.tensor([[1], [4]])
    merged, counts = merge(x, Matching(kept, moved, torch.tensor([[1], [0]])), sizes)
    assert_close(merged[0], torch.stack([x[0, 0], (x[0, 1] + x[0, 2]) / 2, x[0, 3]]))
    assert torch.equal(merged[1, 0], x[1, 1])  # tokens 0, 2 and 3 are lost
    assert counts[..., 0].tolist() == [[1, 2, 1], [1, 0, 0]]
