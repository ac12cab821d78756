"""MAGE's training: what counts, where gradients go, messages, and that it learns."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.generators.mage.masking import TwoLevel
from mimgen.generators.mage.model import MageTransformer
from mimgen.generators.mage.objective import MAGE
from mimgen.tokenizers import ConvTokenizer
from mimgen.types import Batch, SampleRNG

TOKENS = torch.randint(0, 20, (3, 16), generator=torch.Generator().manual_seed(0))


def objective(**options: object) -> MAGE:
    torch.manual_seed(0)
    transformer = MageTransformer(4, 20, 24, 1, 3, 16, 1, 2, dropout=0.0)
    tokenizer = ConvTokenizer(channels=8, multipliers=(1,), blocks=1, stem=4, quantizer="fsq", levels=(5, 4))
    return MAGE(transformer, tokenizer, **options)  # type: ignore[arg-type]


def batch(step: int = 0, codes: torch.Tensor | None = TOKENS) -> Batch:
    return Batch(
        images=torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1)),
        captions=("", "", ""),
        keys=tuple("abc"),
        rng=SampleRNG.for_rows(0, step, range(3)),
        codes=None if codes is None else codes.view(3, 4, 4),
    )


def test_the_loss_is_the_smoothed_mean_over_masked_tokens() -> None:
    part = objective()
    masked, dropped = TwoLevel()(16, SampleRNG([1, 2, 3]))
    logs = part.transformer.head(part.states(TOKENS, masked, dropped)).log_softmax(-1)
    each = -0.9 * logs.gather(2, TOKENS[..., None])[..., 0] - 0.1 * logs.mean(-1)
    torch.testing.assert_close(part.losses(TOKENS, masked, dropped).total, each[masked.masked].mean())


def test_hidden_ids_do_not_leak() -> None:
    part = objective()
    masked, dropped = TwoLevel()(16, SampleRNG([1, 2, 3]))
    other = torch.where(masked.masked, (TOKENS + 1) % 20, TOKENS)
    assert torch.equal(part.states(TOKENS, masked, dropped), part.states(other, masked, dropped))
    assert not torch.equal(part.states(TOKENS, masked, dropped), part.states((TOKENS + 1) % 20, masked, dropped))


def test_gradients_reach_encoder_and_decoder_and_no_target_row() -> None:
    part = objective()
    part(batch()).total.backward()
    grads = {name: parameter.grad for name, parameter in part.transformer.named_parameters()}
    assert all(grad is not None and bool(grad.abs().sum() > 0) for grad in grads.values())
    words = grads["token_emb.word_embeddings.weight"]
    assert words is not None and grads["blocks.0.attn.qkv.weight"] is not None
    masked, _ = TwoLevel()(16, SampleRNG.for_rows(0, 0, range(3)))
    held_out = set(range(20)) - set(TOKENS[~masked.masked].tolist())
    assert held_out and float(words[sorted(held_out)].abs().sum()) == 0  # the head's use of the table is detached


def test_same_batch_same_loss_with_codes_or_images() -> None:
    part = objective().train()
    assert not part.tokenizer.training
    assert torch.equal(part(batch()).total, part(batch()).total)
    codes = part.tokenizer.encode(batch().images).indices
    torch.testing.assert_close(part(batch(codes=None)).total, part(batch(codes=codes)).total)


def test_it_learns() -> None:
    part = objective(label_smoothing=0.0)
    codes = torch.arange(3)[:, None].expand(-1, 16)  # one visible token predicts all others
    optimiser = torch.optim.AdamW(part.transformer.parameters(), 1e-2)
    for step in range(120):
        optimiser.zero_grad()
        part(batch(step, codes)).total.backward()
        optimiser.step()
    masked, dropped = TwoLevel().split(SampleRNG([1, 2, 3]).uniform(16), torch.tensor([0.75]))
    assert float(part.losses(codes, masked, dropped).metrics["accuracy"]) > 0.9


def test_messages() -> None:
    with pytest.raises(UserError, match="label_smoothing=1"):
        objective(label_smoothing=1.0)
