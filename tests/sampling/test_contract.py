"""Every order and every schedule of the sub-package keeps the sampler's promises."""

from dataclasses import is_dataclass

import pytest
import torch

import mimgen.sampling
from mimgen.errors import UserError
from mimgen.sampling import Confidence, Cosine, Guidance, Halton, unmask
from mimgen.types import SampleRNG

MEMBERS = [getattr(mimgen.sampling, name) for name in mimgen.sampling.__all__]
CLASSES = [member for member in MEMBERS if is_dataclass(member)]
ORDERS = [member() for member in CLASSES if hasattr(member, "plan")] + [Halton(roll=True)]
SCHEDULES = [member() for member in CLASSES if "__call__" in vars(member)]
GRID, CODES = (4, 6), 12
COUNT, MASK = GRID[0] * GRID[1], 12


class Predictor:
    """Logits that depend on every token of the row, so that a changed token changes what follows."""

    def __init__(self, full=False):
        generator = torch.Generator().manual_seed(0)
        self.embedding = torch.randn(CODES + 1, CODES, generator=generator)
        self.position = 2 * torch.randn(COUNT, CODES, generator=generator)
        self.full, self.calls = full, []

    def __call__(self, tokens, positions, step, guided):
        self.calls.append((tokens.clone(), positions.clone(), guided))
        logits = self.embedding[tokens].cumsum(1).flip(1) + self.position
        if self.full:
            logits = (logits + 0.0).contiguous()
        logits = logits.gather(1, positions[..., None].expand(-1, -1, CODES))
        return (logits, -logits) if guided else logits


def canvas(rows=3):
    return torch.full((rows, COUNT), MASK)


def partly_known():
    tokens = canvas()
    tokens[1, 3:14] = torch.arange(11) % CODES
    tokens[2] = 5
    return tokens


def sample(tokens, predict=None, seeds=(1, 2, 3), steps=7, **options):
    predict = predict or Predictor()
    return unmask(predict, tokens, mask_id=MASK, steps=steps, rng=SampleRNG(seeds), grid=GRID, **options)


def test_the_members_are_found():
    assert len(ORDERS) >= 5
    assert len(SCHEDULES) >= 3


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_a_schedule_falls_to_nothing(schedule):
    shares = [schedule(step / 20) for step in range(1, 21)]
    assert shares == sorted(shares, reverse=True)
    assert 0 < shares[0] < 1
    assert shares[-1] == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="ratio"):
        schedule(1.5)


@pytest.mark.parametrize("steps", [1, 7, COUNT + 9])
@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_ends_unmasked_and_keeps_known_tokens(order, steps):
    tokens = partly_known()
    known = tokens != MASK
    before = tokens.clone()
    predict = Predictor()
    result = sample(tokens, predict, steps=steps, order=order)
    assert torch.equal(tokens, before)
    assert bool((result.tokens < CODES).all())
    assert torch.equal(result.tokens[known], before[known])
    assert torch.equal(result.unmasked_at < 0, known)
    assert bool((result.log_probs[known] == 0).all())
    assert bool((result.log_probs[~known] < 0).all())
    for seen, _, _ in predict.calls:
        assert torch.equal(seen[known], before[known])


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_exactly_the_scheduled_number_stays_masked(order, schedule):
    steps, masked = 7, []
    sample(
        canvas(),
        steps=steps,
        order=order,
        schedule=schedule,
        on_step=lambda step, tokens: masked.append((tokens == MASK).sum(1).tolist()),
    )
    expected, left = [], COUNT
    for step in range(steps):
        share = torch.tensor(schedule((step + 1) / steps)) * COUNT
        left = 0 if step == steps - 1 else max(1, min(left - 1, int(share.floor())))
        expected.append([left] * 3)
    assert masked == expected


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_a_row_depends_on_its_own_seed_only(order):
    tokens = partly_known()
    together = sample(tokens, order=order)
    again = sample(tokens, order=order)
    assert torch.equal(together.tokens, again.tokens)
    for row, seed in enumerate((1, 2, 3)):
        alone = sample(tokens[row : row + 1], seeds=(seed,), order=order)
        assert torch.equal(alone.tokens[0], together.tokens[row])
        assert torch.equal(alone.unmasked_at[0], together.unmasked_at[row])
    other = sample(tokens, seeds=(4, 5, 6), order=order)
    assert not torch.equal(other.tokens, together.tokens)


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_logits_are_asked_for_masked_positions_only(order):
    predict = Predictor()
    result = sample(canvas(), predict, order=order)
    for step, (tokens, positions, _) in enumerate(predict.calls):
        requested = torch.zeros_like(tokens).scatter(1, positions, 1).bool()
        masked = tokens == MASK
        assert positions.shape[1] == int(requested[0].sum())
        if isinstance(order, Confidence):
            assert torch.equal(requested, masked)
        else:
            assert torch.equal(requested, result.unmasked_at == step)


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_guidance_one_is_the_conditional_branch(order):
    predict = Predictor()
    plain = sample(canvas(), predict, order=order)
    assert not any(guided for _, _, guided in predict.calls)
    forced = sample(canvas(), order=order, guidance=Guidance(scale=1.0, rule="linear"))
    guided = sample(canvas(), order=order, guidance=Guidance(scale=4.0))
    assert torch.equal(plain.tokens, forced.tokens)
    assert not torch.equal(plain.tokens, guided.tokens)


def test_guidance_outside_its_interval_makes_one_pass():
    predict = Predictor()
    sample(canvas(), predict, steps=10, guidance=Guidance(3.0, interval=(0.25, 0.55)))
    assert [guided for _, _, guided in predict.calls] == [3 <= step <= 5 for step in range(10)]


def test_linear_guidance_ends_at_its_scale():
    guidance = Guidance(5.0, rule="linear")
    assert [guidance.weight(step, 4) for step in range(4)] == [2.0, 3.0, 4.0, 5.0]


def test_temperatures_are_kept_apart():
    settings = {"choice_temperature": (0.0, 0.0), "token_temperature": 0.0}
    greedy = sample(canvas(), **settings)
    assert torch.equal(greedy.tokens, sample(canvas(), seeds=(7, 8, 9), **settings).tokens)
    choice = sample(canvas(), choice_temperature=(20.0, 20.0), token_temperature=0.0)
    token = sample(canvas(), choice_temperature=(0.0, 0.0), token_temperature=1.0)
    assert not torch.equal(greedy.unmasked_at, choice.unmasked_at)
    assert not torch.equal(greedy.tokens, token.tokens)
    assert torch.equal(greedy.tokens, sample(canvas(), choice_temperature=(0.0, 0.0), top_k=1).tokens)


def test_top_k_draws_among_the_likeliest():
    predict = Predictor()
    result = sample(canvas(), predict, steps=1, top_k=3, token_temperature=5.0)
    logits = Predictor()(canvas(), torch.arange(COUNT).expand(3, -1), 0, False)
    likeliest = logits.topk(3, dim=-1).indices
    assert bool((likeliest == result.tokens[..., None]).any(-1).all())
    assert bool((result.tokens != likeliest[..., 0]).any())


def test_equal_confidence_falls_to_the_earlier_position():
    def flat(tokens, positions, step, guided):
        return torch.zeros(*positions.shape, CODES)

    result = sample(canvas(), flat, choice_temperature=(0.0, 0.0), schedule=mimgen.sampling.Linear(), steps=8)
    assert result.unmasked_at[0].tolist() == sorted(result.unmasked_at[0].tolist())
    assert result.unmasked_at[0].bincount().tolist() == [3] * 8


def test_a_callback_stops_the_loop():
    steps = []

    def stop(step, tokens):
        steps.append(step)
        return step == 2

    result = sample(canvas(), on_step=stop)
    assert steps == [0, 1, 2]
    assert torch.equal(result.tokens == MASK, result.unmasked_at < 0)
    assert bool((result.tokens == MASK).any())


def test_the_default_is_confidence_with_a_cosine():
    named = sample(canvas(), order=Confidence(), schedule=Cosine(), choice_temperature=(2.0, 0.0))
    assert torch.equal(sample(canvas()).tokens, named.tokens)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seeds": (1,)}, "random streams"),
        ({"steps": 0}, "at least one step"),
        ({"token_temperature": -1.0}, "token temperature"),
        ({"top_k": 0}, "top_k"),
    ],
)
def test_arguments_that_do_not_fit_are_named(options, words):
    with pytest.raises(UserError, match=words):
        sample(canvas(), **options)


def test_wrong_grid_and_drawable_mask_id_are_named():
    with pytest.raises(UserError, match="grid"):
        unmask(Predictor(), canvas()[:, 1:], mask_id=MASK, steps=2, rng=SampleRNG([1, 2, 3]), grid=GRID)
    tokens = torch.full((1, COUNT), 3)
    with pytest.raises(UserError, match="mask id 3"):
        unmask(Predictor(), tokens, mask_id=3, steps=2, rng=SampleRNG([1]), grid=GRID)
    with pytest.raises(UserError, match="interval"):
        Guidance(interval=(0.8, 0.2))
    with pytest.raises(UserError, match="rule"):
        Guidance(rule="cubic")
