"""Gradient checkpointing: the same gradients bit for bit, computed twice, and only where gradients are asked for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mimgen.generators import MeissonicTransformer
from mimgen.layers.recompute import recompute


def transformer() -> MeissonicTransformer:
    torch.manual_seed(0)
    return MeissonicTransformer(2, 2, 16, 2, 12, 32, vocab_size=41, codebook_size=40, downsample=True, upsample=True)


def blocks(model: MeissonicTransformer) -> list[nn.Module]:
    return [*model.transformer_blocks, *model.single_transformer_blocks]


def gradients(model: MeissonicTransformer) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 41, (2, 4, 6), generator=generator)
    states, pooled = torch.randn(2, 5, 12, generator=generator), torch.randn(2, 32, generator=generator)
    sizes = torch.tensor([[24.0, 16.0, 0.0, 0.0, 6.0]]).expand(2, -1)
    logits = model(tokens, states, pooled, torch.tensor([0.3, 0.9]), sizes)
    logits.logsumexp(-1).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_gradients_are_the_same_bit_for_bit() -> None:
    plain, saving = transformer(), transformer()
    recompute(blocks(saving))
    expected, got = gradients(plain), gradients(saving)
    assert expected.keys() == got.keys()
    assert all(torch.equal(value, got[name]) for name, value in expected.items())
    assert plain.state_dict().keys() == saving.state_dict().keys()


@pytest.mark.parametrize("training", [True, False])
def test_blocks_run_twice_where_gradients_are_asked_for(training: bool) -> None:
    calls = []

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return self.linear(x).relu()

    block = Block()
    recompute([block])
    recompute([block])  # once more changes nothing
    with torch.set_grad_enabled(training):
        out = block(torch.ones(2, 3))
    if training:
        out.sum().backward()
    assert len(calls) == (2 if training else 1)
