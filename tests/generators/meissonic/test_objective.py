"""Masked-token training: only masked tokens count, memory-saving loss, dropped captions."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mimgen.encoders import ByteTextEncoder
from mimgen.generators import MeissonicTransformer
from mimgen.generators.meissonic.objective import MaskedTokens, chunked_cross_entropy, micro_conditions
from mimgen.tokenizers import ConvTokenizer
from mimgen.types import Batch, SampleRNG


def objective(drop_condition: float = 0.0) -> MaskedTokens:
    torch.manual_seed(0)
    transformer = MeissonicTransformer(
        1, 1, 16, 2, 12, 32, pooled_text_dim=12, vocab_size=41, codebook_size=40
    )
    text = ByteTextEncoder(width=12, depth=1, heads=2, max_words=5, buckets=32)
    tokenizer = ConvTokenizer(channels=8, multipliers=(1,), blocks=1, stem=4, quantizer="fsq", levels=(5, 8))
    return MaskedTokens(transformer, text, tokenizer, drop_condition=drop_condition)


def batch(count: int = 4, codes: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        images=torch.rand(count, 3, 16, 16, generator=generator),
        captions=("red apple", "blue car", "cat", "dog")[:count],
        keys=tuple("abcd"[:count]),
        rng=SampleRNG.for_rows(0, 0, range(count)),
        codes=torch.randint(0, 40, (count, 4, 4), generator=generator) if codes else None,
    )


@pytest.mark.parametrize("chunk", [3, 7, 100])
def test_chunks_give_the_same_loss_and_gradient(chunk: int) -> None:
    generator = torch.Generator().manual_seed(0)
    head, hidden = nn.Linear(6, 11), torch.randn(10, 6, generator=generator, requires_grad=True)
    targets = torch.randint(0, 11, (10,), generator=generator)
    whole = F.cross_entropy(head(hidden), targets, reduction="sum")
    expected = torch.autograd.grad(whole, [hidden, head.weight])
    total, right = chunked_cross_entropy(hidden, targets, head, chunk)
    torch.testing.assert_close(total, whole)
    assert right == (head(hidden).argmax(-1) == targets).sum()
    for got, want in zip(torch.autograd.grad(total, [hidden, head.weight]), expected, strict=True):
        torch.testing.assert_close(got, want)


def test_visible_tokens_do_not_enter_the_loss() -> None:
    part = objective()
    given = batch()
    mask, _ = part.masking(16, batch().rng)
    visible = ~mask.masked.view(4, 4, 4)
    loss = part(given).total
    assert given.codes is not None
    seen: dict[str, torch.Tensor] = {}
    original = part.transformer.states

    def states(tokens: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        seen["tokens"] = tokens
        return original(tokens, *rest)

    part.transformer.states = states  # type: ignore[method-assign]
    part(batch())
    assert torch.equal(seen["tokens"][visible], given.codes[visible])
    assert (seen["tokens"][~visible] == part.transformer.mask_id).all()
    assert loss.item() > 0


def test_uniform_logits_cost_log_k() -> None:
    part = objective()
    nn.init.zeros_(part.transformer.mlm_layer.conv2.weight)
    torch.testing.assert_close(part(batch()).total, torch.tensor(40.0).log())


def test_codes_are_made_where_none_are_cached() -> None:
    part = objective()
    assert part.tokens(batch(codes=False)).shape == (4, 4, 4)
    assert torch.isfinite(part(batch(codes=False)).total)


def test_dropped_captions() -> None:
    kept = objective(0.0).captions(batch())
    assert kept == ["red apple", "blue car", "cat", "dog"]
    half, rows = objective(0.5), 240
    many = Batch(torch.zeros(rows, 3, 4, 4), ("x",) * rows, ("k",) * rows, SampleRNG.for_rows(0, 0, range(rows)))
    assert 0.35 < half.captions(many).count("") / rows < 0.65
    with pytest.raises(ValueError, match="drop_condition"):
        objective(1.0)


def test_same_batch_same_loss_and_the_tokenizer_is_frozen() -> None:
    part = objective(0.3)
    torch.testing.assert_close(part(batch()).total, part(batch()).total, rtol=0, atol=0)
    part(batch(codes=False)).total.backward()
    assert all(p.grad is None for p in part.tokenizer.parameters())
    part.train()
    assert not part.tokenizer.training and part.transformer.training


def test_micro_conditions_default_to_the_whole_image() -> None:
    assert micro_conditions(batch())[0].tolist() == [16, 16, 0, 0, 6]


def test_factor_on_the_rate_that_is_reported() -> None:
    heard = {}
    for timestep_scale in (1.0, 1000.0):
        part = objective()
        part.timestep_scale = timestep_scale
        original = part.transformer.states

        def states(
            tokens: torch.Tensor,
            *rest: torch.Tensor,
            timestep_scale: float = timestep_scale,
            original=original,
        ) -> torch.Tensor:
            heard[timestep_scale] = rest[2]
            return original(tokens, *rest)

        part.transformer.states = states  # type: ignore[method-assign]
        part(batch())
    torch.testing.assert_close(heard[1000.0], 1000 * heard[1.0])
    assert bool((heard[1.0] <= 1).all())
