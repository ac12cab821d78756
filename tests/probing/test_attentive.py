"""The attentive probe on tokens whose informative place is known."""

import pytest
import torch
from torch import Tensor, nn

from mimgen.encoders import VitEncoder
from mimgen.errors import UserError
from mimgen.layers.pooling import POOLING_NAMES, EfficientPooling
from mimgen.probing import extract, linear_probe
from mimgen.probing.attentive import AttentiveTraining, attentive_probe
from mimgen.probing.maps import pointing_game

QUICK = AttentiveTraining(rates=(1e-3, 1e-2), steps=40, warmup=4, batch_size=64)


def marked(n: int, seed: int, count: int = 16, width: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    """Clutter of which one token carries a mark and its class; labels are 3, 5, 7, 9."""
    fixed = torch.Generator().manual_seed(99)
    mark, centres = 3 * torch.randn(width, generator=fixed), torch.randn(4, width, generator=fixed)
    generator = torch.Generator().manual_seed(seed)
    classes, position = torch.randint(4, (n,), generator=generator), torch.randint(count, (n,), generator=generator)
    x = torch.randn(n, count, width, generator=generator)
    x[torch.arange(n), position] = mark + centres[classes] + 0.3 * torch.randn(n, width, generator=generator)
    return x, 2 * classes + 3, position


def test_a_probe_finds_the_token_that_matters() -> None:
    (x, y, _), (test_x, test_y, position) = marked(300, 0), marked(150, 1)
    probe = attentive_probe(x, y, test_x, test_y, seed=0, training=QUICK)
    mean = linear_probe(x.mean(1), y, test_x.mean(1), test_y, seed=0)
    assert probe.result.accuracy > 0.9
    assert probe.result.accuracy > mean.accuracy + 0.1
    assert torch.equal(probe.labels, torch.tensor([3, 5, 7, 9]))
    assert float((probe.predict(test_x) == test_y).double().mean()) == probe.result.accuracy
    objects = torch.nn.functional.one_hot(position, 16).bool().view(-1, 4, 4)
    loss_config = pointing_game(probe.head.maps(test_x), (4, 4), objects)
    assert loss_config.chance == pytest.approx(1 / 16)
    assert loss_config.average > 0.8 and float(loss_config.each.max()) > 0.8
    details = probe.result.details
    assert details["parameters"] == 16 * 16 + 16 * 16 + 17 * 4
    assert {tried["rate"] for tried in details["tried"]} == {1e-3, 1e-2}
    assert probe.result.validation == max(tried["validation"] for tried in details["tried"])


def test_the_same_seed_gives_the_same_probe() -> None:
    (x, y, _), (test_x, test_y, _) = marked(60, 0), marked(20, 1)
    training = AttentiveTraining(rates=(1e-3,), steps=4, warmup=1, batch_size=16)
    first, torch_state = attentive_probe(x, y, test_x, test_y, seed=3, training=training), torch.get_rng_state()
    again = attentive_probe(x, y, test_x, test_y, seed=3, training=training)
    other = attentive_probe(x, y, test_x, test_y, seed=4, training=training)
    assert torch.equal(first.head[2].weight, again.head[2].weight)
    assert not torch.equal(first.head[2].weight, other.head[2].weight)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert first.result.validation is None


@pytest.mark.parametrize("name", POOLING_NAMES)
def test_every_pooling_trains_at_several_rates(name: str) -> None:
    (x, y, _), (test_x, test_y, _) = marked(40, 0, count=9), marked(10, 1, count=9)
    training = AttentiveTraining(steps=2, warmup=0, batch_size=16)
    probe = attentive_probe(x, y, test_x, test_y, seed=0, pooling=name, training=training)
    assert probe.result.probe == name and len(probe.result.details["tried"]) == 3
    assert probe.head.maps(test_x).shape[::2] == (10, 9)


def test_a_few_images_are_enough_for_one_setting() -> None:
    (x, _, _), (test_x, test_y, _) = marked(4, 0), marked(10, 1)
    y = torch.tensor([3, 5, 7, 9])
    training = AttentiveTraining(rates=(1e-3,), steps=2, warmup=0)
    with pytest.warns(UserWarning, match="label that train lacks"):
        result = attentive_probe(x[:2], y[:2], test_x, test_y, seed=0, training=training).result
    assert result.n == 2
    with pytest.raises(UserError, match="at least 5 are needed"):
        attentive_probe(x, y, test_x, test_y, seed=0, training=AttentiveTraining(steps=2, warmup=0))


def test_class_tokens_and_grids() -> None:
    (x, y, _), (test_x, test_y, _) = marked(40, 0, count=13), marked(10, 1, count=13)
    training = AttentiveTraining(rates=(1e-3,), steps=1, warmup=0, batch_size=16)
    with pytest.raises(UserError, match="pass grid="):
        attentive_probe(x, y, test_x, test_y, seed=0, pooling="clip", training=training)
    attentive_probe(x, y, test_x, test_y, seed=0, pooling="clip", grid=(3, 4), training=training)
    built = attentive_probe(
        x, y, test_x, test_y, seed=0, pooling=lambda: EfficientPooling(16, 4, 2), training=training
    )
    assert built.result.probe == "EfficientPooling"
    assert built.head[2].in_features == 8


def test_the_official_protocol() -> None:
    training = AttentiveTraining.official(8192)
    assert (training.rates, training.steps, training.warmup) == ((1.6,), 180, 20)
    (x, y, _), (test_x, test_y, _) = marked(200, 0), marked(100, 1)
    short = AttentiveTraining((20.0,), steps=40, warmup=4, batch_size=64, optimiser="lars")
    result = attentive_probe(x, y, test_x, test_y, seed=0, training=short).result
    assert result.accuracy > result.majority + 0.1


def test_the_encoder_stays_as_it_is() -> None:
    """Evaluation mode while tokens are taken, no gradient, no moved statistics, its mode put back."""

    class Noisy(VitEncoder):
        def __init__(self) -> None:
            super().__init__(8, 4, width=8, depth=1, heads=2)
            self.batch_norm, self.dropout = nn.BatchNorm2d(3), nn.Dropout(0.5)

        def embed(self, images: Tensor, mask: None = None) -> tuple[Tensor, tuple[int, int]]:
            assert not self.training and not torch.is_grad_enabled()
            return super().embed(self.dropout(self.batch_norm(images)), mask)

    generator = torch.Generator().manual_seed(0)
    encoder, images = Noisy().train(), torch.rand(12, 3, 8, 8, generator=generator)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    x = extract(encoder, images, pooling="all").levels[1]
    y = torch.arange(12) % 2
    training = AttentiveTraining(rates=(1e-2,), steps=3, warmup=0, batch_size=6)
    attentive_probe(x, y, x, y, seed=0, training=training)
    assert x.shape == (12, 5, 8) and not x.requires_grad
    assert encoder.training
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_bad_input_is_named() -> None:
    (x, y, _), (test_x, test_y, _) = marked(40, 0), marked(10, 1)

    def probe(x: Tensor = x, y: Tensor = y, test_x: Tensor = test_x) -> None:
        attentive_probe(x, y, test_x, test_y, seed=0, training=AttentiveTraining(steps=1, warmup=0))

    with pytest.raises(UserError, match="single class"):
        probe(y=torch.ones_like(y))
    with pytest.raises(UserError, match="no label"):
        probe(y=y - 4)
    with pytest.raises(UserError, match="NaN"):
        probe(x=x.clone().index_fill_(0, torch.tensor([3]), float("nan")))
    with pytest.raises(UserError, match="different encoders"):
        probe(test_x=test_x[:, :9])
    with pytest.raises(UserError, match=r"\[n, N, D\]"):
        probe(x=x.mean(1))
    with pytest.raises(UserError, match="BatchNorm"):
        AttentiveTraining(batch_size=1)
