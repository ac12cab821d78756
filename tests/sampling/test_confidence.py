"""The pure functions of confidence re-masking, and the sampler against the released step."""

import torch

from mimgen.ops.gumbel import gumbel, sample_by_inverse_cdf
from mimgen.sampling import Cosine, Linear, unmask
from mimgen.sampling.confidence import (
    choice_temperatures,
    mask_by_random_topk,
    masked_length,
    scheduler_step,
)
from mimgen.types import SampleRNG


def test_inverse_cdf_counts_the_entries_below():
    probabilities = torch.tensor([[0.25, 0.25, 0.5]]).expand(6, -1)
    uniform = torch.tensor([0.0, 0.2, 0.25, 0.26, 0.51, 1.0])
    assert sample_by_inverse_cdf(probabilities, uniform).tolist() == [0, 0, 0, 1, 2, 2]


def test_inverse_cdf_follows_the_distribution():
    probabilities = torch.tensor([0.1, 0.0, 0.6, 0.3])
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    share = sample_by_inverse_cdf(probabilities.expand(20_000, -1), uniform).bincount(minlength=4) / 20_000
    assert torch.allclose(share, probabilities, atol=0.015)


def test_gumbel_is_finite_at_both_ends():
    assert bool(gumbel(torch.tensor([0.0, 0.5, 1.0])).isfinite().all())
    assert torch.allclose(gumbel(torch.tensor(0.5)), torch.tensor(0.36651292))


def test_temperature_pair_and_number():
    assert choice_temperatures((2, 0), 5).tolist() == [2.0, 1.5, 1.0, 0.5, 0.0]
    assert torch.allclose(choice_temperatures(1.01, 3), torch.tensor([1.01, 0.51, 0.01]))


def test_masked_length_is_floored_and_clipped():
    unknown = torch.tensor([24, 11, 1])
    assert masked_length(Linear(), 2, 5, 24, unknown).tolist() == [9, 9, 1]
    assert masked_length(Linear(), 0, 5, 24, unknown).tolist() == [19, 10, 1]
    assert masked_length(Linear(), 0, 5, 24, unknown, starting_mask_ratio=0.5).tolist() == [9, 9, 1]
    # cos(pi / 3) falls a hair short of one half in float32: eleven as in the released step, not twelve.
    assert masked_length(Cosine(), 3, 6, 24, unknown).tolist() == [11, 10, 1]


def test_known_tokens_are_not_masked_again():
    probabilities = torch.full((2, 8), 0.1)
    probabilities[:, :4] = torch.finfo(torch.float32).max
    uniform = torch.rand(2, 8, generator=torch.Generator().manual_seed(0))
    masked = mask_by_random_topk(torch.tensor([1, 3]), probabilities, 2.0, uniform)
    assert masked.sum(1).tolist() == [1, 3]
    assert not bool(masked[:, :4].any())


def test_unmask_agrees_with_the_released_step():
    grid, codes, steps, rows = (3, 5), 9, 6, 2
    weight = torch.randn(codes + 1, codes, generator=torch.Generator().manual_seed(0))
    position = torch.randn(15, codes, generator=torch.Generator().manual_seed(1))

    def logits(tokens):
        return weight[tokens].mean(1, keepdim=True) + position

    def predict(tokens, positions, step, guided):
        return logits(tokens).gather(1, positions[..., None].expand(-1, -1, codes))

    tokens = torch.full((rows, 15), codes)
    sampled = unmask(predict, tokens, mask_id=codes, steps=steps, rng=SampleRNG([3, 4]), grid=grid)
    rng, temperatures = SampleRNG([3, 4]), choice_temperatures((2.0, 0.0), steps)
    for step in range(steps):
        token_uniform, choice_uniform = rng.uniform(2, 15).unbind(1)
        tokens = scheduler_step(
            logits(tokens),
            tokens,
            step=step,
            steps=steps,
            mask_id=codes,
            schedule=Cosine(),
            temperature=temperatures[step],
            token_uniform=token_uniform.flatten(),
            choice_uniform=choice_uniform,
        ).tokens
        assert torch.equal(tokens != codes, (sampled.unmasked_at <= step))
    assert torch.equal(tokens, sampled.tokens)
