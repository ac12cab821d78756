"""The linear probe of MAE: its rate, its norm, its optimiser, and that it learns."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.probing import mae_protocol
from mimgen.probing.mae_protocol import MaeProtocol, mae_probe


def blobs(n: int, seed: int) -> tuple[Tensor, Tensor]:
    centres = torch.randn(3, 8, generator=torch.Generator().manual_seed(9))
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (n,), generator=generator)
    return centres[y] + 0.4 * torch.randn(n, 8, generator=generator), y


def test_rate_rises_and_falls() -> None:
    protocol = MaeProtocol()
    peak = 0.1 * 16384 / 256
    assert protocol.rate(0, 16384) == 0
    assert protocol.rate(5, 16384) == pytest.approx(peak / 2)
    assert protocol.rate(10, 16384) == pytest.approx(peak)
    assert protocol.rate(50, 16384) == pytest.approx(peak / 2)
    assert protocol.rate(90, 16384) == pytest.approx(0, abs=1e-12)
    assert protocol.rate(10, 512) == pytest.approx(0.2)


def test_labels_are_read_and_the_result_repeats() -> None:
    short = replace(MaeProtocol.small(210), epochs=40, warmup=4)
    result = mae_probe(*blobs(210, 0), *blobs(100, 1), seed=0, protocol=short)
    assert result.accuracy > 0.9
    assert result.details["batch"] == 64 and result.details["views"] == 1
    assert result == mae_probe(*blobs(210, 0), *blobs(100, 1), seed=0, protocol=short)


def test_scale_and_offset_of_a_feature_do_not_matter() -> None:
    (x, y), (test_x, test_y) = blobs(120, 0), blobs(80, 1)
    scale, offset = torch.logspace(-1, 2, 8), torch.arange(8.0)
    short = replace(MaeProtocol.small(120), epochs=40, warmup=4)
    a = mae_probe(x, y, test_x, test_y, seed=0, protocol=short)
    b = mae_probe(x * scale + offset, y, test_x * scale + offset, test_y, seed=0, protocol=short)
    assert a.accuracy == pytest.approx(b.accuracy, abs=0.02)


def test_small_data_keep_the_peak_rate_and_the_steps() -> None:
    small = MaeProtocol.small(78 * 100)
    assert small.batch == 100
    assert small.rate(small.warmup, small.batch) == pytest.approx(6.4)
    assert MaeProtocol.small(1_281_167).batch == pytest.approx(16384, abs=50)
    with pytest.warns(UserWarning, match="60 training images do not fill a batch of 16384"):
        mae_probe(*blobs(60, 0), *blobs(20, 1), seed=0, protocol=MaeProtocol(epochs=2, warmup=1))


def test_the_head_is_that_of_the_paper() -> None:
    norm, linear = mae_protocol._head(400, 50, 0.01, 0)
    assert not list(norm.parameters()) and norm.eps == 1e-6
    assert float(linear.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    assert not linear.bias.any()


def test_views_take_turns() -> None:
    (x, y), test = blobs(60, 0), blobs(30, 1)
    protocol = MaeProtocol(batch=60, epochs=4, warmup=1)
    other = x.roll(1, 1)
    both = mae_probe(x, y, *test, seed=0, protocol=protocol, views=[other])
    assert both.details["views"] == 2
    with pytest.raises(UserError, match="a view must be finite"):
        mae_probe(x, y, *test, seed=0, protocol=protocol, views=[x[:5]])
    with pytest.raises(UserError, match="a view must be finite"):
        mae_probe(x, y, *test, seed=0, protocol=protocol, views=[other.index_fill(0, torch.tensor([2]), torch.nan)])


def test_broken_settings_are_named() -> None:
    with pytest.raises(UserError, match="warm-up no longer than the run"):
        MaeProtocol(epochs=5)
