"""Copies of a head trained at once end where they would have ended alone."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.layers.pooling import AimPooling, EfficientPooling, ProbeHead
from mimgen.probing.stacked import HeadStack
from mimgen.training.lars import Lars


def head(pooling: str = "efficient") -> ProbeHead:
    torch.manual_seed(0)
    return ProbeHead(EfficientPooling(8, 2) if pooling == "efficient" else AimPooling(8, 2), 3)


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(6, 5, 8, generator=generator), torch.arange(6) % 3) for _ in range(4)]


def alone(model: ProbeHead, optimiser: torch.optim.Optimizer) -> ProbeHead:
    for x, y in batches():
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model.train()(x), y).backward()
        optimiser.step()
    return model


def stacked(pooling: str, rates: list[float], decays: list[float], optimiser: str) -> list[ProbeHead]:
    stack = HeadStack(head(pooling), rates, decays, optimiser)
    for x, y in batches():
        stack.step(x, y)
    copies = [head(pooling) for _ in rates]
    for member, copy in enumerate(copies):
        stack.copy_into(member, copy)
    return copies


def assert_equal(ours: ProbeHead, reference: ProbeHead) -> None:
    for (name, value), expected in zip(ours.state_dict().items(), reference.state_dict().values(), strict=True):
        assert torch.allclose(value, expected, atol=2e-6), name


@pytest.mark.parametrize("pooling", ["efficient", "aim"])
def test_adam_of_each_copy(pooling: str) -> None:
    rates, decays = [1e-3, 3e-2], [0.0, 0.5]
    for copy, rate, decay in zip(stacked(pooling, rates, decays, "adam"), rates, decays, strict=True):
        model = head(pooling)
        decayed = [p for p in model.parameters() if p.ndim > 1]
        rest = [p for p in model.parameters() if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]
        assert_equal(copy, alone(model, torch.optim.AdamW(groups, lr=rate)))


def test_lars_of_each_copy() -> None:
    rates, decays = [0.5, 2.0], [0.0, 0.1]
    for copy, rate, decay in zip(stacked("efficient", rates, decays, "lars"), rates, decays, strict=True):
        model = head()
        assert_equal(copy, alone(model, Lars(model.parameters(), lr=rate, weight_decay=decay)))


def test_prediction_leaves_statistics_alone() -> None:
    stack = HeadStack(head(), [1e-3, 1e-2], [0.0, 0.0])
    x, y = batches()[0]
    losses = stack.step(x, y)
    assert losses.shape == (2,) and torch.allclose(losses[0], losses[1])
    before = {name: value.clone() for name, value in stack.buffers.items()}
    assert stack.predict(x).shape == (2, 6)
    assert all(torch.equal(before[name], value) for name, value in stack.buffers.items())


def test_misuse_is_named() -> None:
    with pytest.raises(UserError, match="must be positive"):
        HeadStack(head(), [0.0], [0.0])
    with pytest.raises(UserError, match="choose from adam, lars"):
        HeadStack(head(), [0.1], [0.0], "sgd")  # type: ignore[arg-type]
