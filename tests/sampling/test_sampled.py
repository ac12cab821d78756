"""What the sampler tells of its steps, and predictors that mix guidance themselves."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.sampling import Confidence, Guidance, Halton, unmask
from mimgen.types import SampleRNG

MASK = 9


class Predictor:
    def __call__(self, tokens, positions, step, guided):
        logits = torch.sin(torch.arange(9) * (1.0 + positions[..., None] + step))
        return (logits, -logits) if guided else logits


class Mixing(Predictor):
    """Mixes itself; counts how often it is asked to."""

    def __init__(self):
        self.weights = []

    def guided(self, tokens, positions, step, weight):
        self.weights.append(weight)
        conditional, unconditional = super().__call__(tokens, positions, step, True)
        return unconditional + weight * (conditional - unconditional)


def sample(predict, tokens, steps=5, **options):
    return unmask(predict, tokens, mask_id=MASK, steps=steps, rng=SampleRNG([1, 2]), grid=(3, 4), **options)


def canvas():
    tokens = torch.full((2, 12), MASK)
    tokens[1, :7] = 3
    return tokens


def test_log_probabilities_of_each_step():
    sampled = sample(Predictor(), canvas())
    sums = sampled.step_log_probs(5)
    assert sums.shape == (2, 5)
    for row in range(2):
        for step in range(5):
            own = sampled.log_probs[row][sampled.unmasked_at[row] == step].sum()
            torch.testing.assert_close(sums[row, step], own)
    torch.testing.assert_close(sums.sum(1), sampled.log_probs.sum(1))
    assert bool((sums[0] < 0).all())
    with pytest.raises(UserError, match="step 4 revealed tokens"):
        sampled.step_log_probs(4)


def test_steps_that_reveal_nothing_count_zero():
    stopped = sample(Predictor(), canvas(), on_step=lambda step, tokens: step == 1)
    assert stopped.step_log_probs(5)[:, 2:].tolist() == [[0.0] * 3] * 2
    known = sample(Predictor(), torch.full((2, 12), 4))
    assert known.step_log_probs(5).tolist() == [[0.0] * 5] * 2


def test_a_predictor_may_mix_the_branches_itself():
    mixing, guidance = Mixing(), Guidance(3.0, (0.3, 1.0))
    quick, plain = (sample(predict, canvas(), guidance=guidance) for predict in (mixing, Predictor()))
    assert torch.equal(quick.tokens, plain.tokens)
    torch.testing.assert_close(quick.log_probs, plain.log_probs)
    assert mixing.weights == [3.0] * 3  # steps 2, 3 and 4; it is not asked where guidance is off


@pytest.mark.parametrize("order", [Confidence(), Halton()])
def test_rows_that_ask_for_fewer_repeat_their_last_position(order):
    seen = []

    class Watching(Predictor):
        def __call__(self, tokens, positions, step, guided):
            seen.append((tokens.clone(), positions.clone()))
            return super().__call__(tokens, positions, step, guided)

    sample(Watching(), canvas(), order=order)
    for tokens, positions in seen:
        for row in range(2):
            requested = positions[row]
            assert bool((tokens[row, requested] == MASK).all()) and bool((requested.diff() >= 0).all())
