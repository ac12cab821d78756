"""The feature cache and the difference of guidance that is used again: what is computed when, and what stays."""

import pytest
import torch

from mimgen.generators import FeatureCache, Speed, TextPredictor, sample_text
from mimgen.sampling import Confidence, Guidance, Halton, Order, Sampled
from mimgen.types import SampleRNG
from tests.generators.text_models import CODES, COUNT, half_known, predictor

EVERYTHING = torch.arange(COUNT)
Computed = list[tuple[int, int | None]]  # rows of the batch and cells of each step, None for all


def watched(predict: TextPredictor) -> Computed:
    seen: Computed = []
    original = predict.transformer.embed_tokens

    def enter(tokens, prepared, cells=None):
        seen.append((len(tokens), None if cells is None else cells.shape[1]))
        return original(tokens, prepared, cells)

    predict.transformer.embed_tokens = enter
    return seen


def sample(predict: TextPredictor, order: Order, seeds=(1, 2, 3), initial_tokens=None, scale: float = 4.0) -> Sampled:
    return sample_text(predict, SampleRNG(seeds), initial_tokens=initial_tokens, order=order, guidance=Guidance(scale))


def test_only_changed_and_asked_cells_are_computed_in_between() -> None:
    predict = predictor(Speed(cache=FeatureCache(every=4)))
    seen = watched(predict)
    revealed = sample(predict, Halton()).unmasked_at[0]
    new = [int((revealed == step).sum()) for step in range(8)]
    full, partial = (6, None), [(6, new[step - 1] + new[step]) for step in range(8)]
    assert seen == [full, *partial[1:4], full, *partial[5:8]]


def test_changes_are_seen_without_guidance_too() -> None:
    predict = predictor(Speed(cache=FeatureCache(every=8)))
    seen = watched(predict)
    revealed = sample(predict, Halton(), scale=1.0).unmasked_at[0]
    new = [int((revealed == step).sum()) for step in range(8)]
    assert seen == [(3, None), *((3, new[step - 1] + new[step]) for step in range(1, 8))]


def test_the_first_steps_can_all_be_full() -> None:
    predict = predictor(Speed(cache=FeatureCache(every=3, first=3)))
    seen = watched(predict)
    sample(predict, Halton())
    assert [cells is None for _, cells in seen] == [True, True, True, False, False, True, False, False]


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
def test_where_nothing_changed_a_partial_step_is_exact(compress: bool) -> None:
    quick, exact = predictor(Speed(cache=FeatureCache(every=2)), compress), predictor(Speed(), compress)
    tokens, everywhere = half_known(), EVERYTHING.expand(3, -1)
    positions = torch.tensor([[0, 34, 12], [6, 7, 8], [30, 1, 1]])
    with torch.no_grad():
        quick.guided(tokens, everywhere[:, :2], 0, 3.0)
        again = quick.guided(tokens, positions, 1, 3.0)
        torch.testing.assert_close(again, exact.guided(tokens, positions, 1, 3.0), atol=1e-4, rtol=1e-4)
        changed = tokens.clone()
        changed[:, 25] = 3
        assert not torch.allclose(exact.guided(changed, positions, 2, 3.0), again, atol=1e-3)


def test_a_token_known_early_keeps_its_entry() -> None:
    predict = predictor(Speed(cache=FeatureCache(every=9)))
    tokens, positions = torch.full((3, COUNT), CODES), torch.tensor([[1], [2], [3]])
    with torch.no_grad():
        predict(tokens, positions, 0, False)
        tokens[:, 20] = 5
        predict(tokens, positions, 1, False)  # now the entry of cell 20 knows its token
        store = predict.cache._kept.stores[1]
        entry = store.keys[:, 5 + 20].clone()
        seen = watched(predict)
        tokens[:, 21] = 6
        predict(tokens, positions, 2, False)
    assert seen == [(3, 2)]  # cell 21, and the one asked for
    assert torch.equal(predict.cache._kept.stores[1].keys[:, 5 + 20], entry)


@pytest.mark.parametrize("order", [Confidence(), Halton()], ids=["confidence", "halton"])
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("how", [None, "drop", "merge"])
def test_an_image_depends_on_its_own_row_only(how, compress: bool, order: Order) -> None:
    speed = Speed(cache=FeatureCache(3, how), guidance_every=2 if how == "merge" else 1)
    together = predictor(speed, compress)
    sampled, initial_tokens = sample(together, order, initial_tokens=half_known()), half_known()
    assert bool((sampled.tokens < CODES).all())
    assert torch.equal(sampled.tokens[initial_tokens < CODES], initial_tokens[initial_tokens < CODES])
    # a second run starts afresh
    assert torch.equal(sample(together, order, initial_tokens=initial_tokens).tokens, sampled.tokens)
    alone = sample(predictor(speed, compress, rows=slice(1, 2)), order, (2,), initial_tokens[1:2])
    assert torch.equal(alone.tokens[0], sampled.tokens[1])


def test_compression_takes_less_memory_and_the_size_is_reported() -> None:
    sizes = {}
    for how in (None, "drop", "merge"):
        predict = predictor(Speed(cache=FeatureCache(2, how, keep=0.25)))
        with torch.no_grad():
            predict(torch.full((3, COUNT), CODES), torch.zeros(3, 1, dtype=torch.int64), 0, False)
        sizes[how] = sum(store.bytes for store in predict.cache._kept.stores)
        assert predict.cache_bytes >= sizes[how]
    assert sizes[None] == 3 * 3 * 2 * (5 + 35) * 32 * 4  # rows, blocks, keys and values, entries, width, float32
    assert sizes["drop"] == sizes["merge"] == 3 * 3 * 2 * (5 + 9) * 32 * 4
    assert predictor(Speed()).cache_bytes == 0


def test_the_unconditional_branch_is_computed_every_few_steps() -> None:
    predict = predictor(Speed(guidance_every=3))
    seen = watched(predict)
    sample(predict, Halton())
    assert [rows for rows, _ in seen] == [6, 3, 3, 6, 3, 3, 6, 3]


@pytest.mark.parametrize("cache", [None, FeatureCache(4)], ids=["no cache", "cache"])
def test_a_difference_that_did_not_change_is_exact(cache: FeatureCache | None) -> None:
    quick, exact = predictor(Speed(cache=cache, guidance_every=2)), predictor(Speed())
    tokens, positions = half_known(), torch.tensor([[0, 33, 12], [0, 1, 2], [31, 1, 1]])
    with torch.no_grad():
        for step in range(3):
            expected = exact.guided(tokens, positions + (step == 1), step, 3.0)
            found = quick.guided(tokens, positions + (step == 1), step, 3.0)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_steps_without_guidance_in_between() -> None:
    for every in (1, 2):
        predict = predictor(Speed(cache=FeatureCache(4), guidance_every=every))
        guidance = Guidance(4.0, (0.3, 0.6))
        sampled = sample_text(predict, SampleRNG([1, 2, 3]), order=Halton(), guidance=guidance)
        assert bool((sampled.tokens < CODES).all())
