"""The sweep: settings do not disturb one another, and training ends at the minimum."""

import math

import pytest
import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.probing import linear_probe
from mimgen.probing.logistic import fit_logistic
from mimgen.probing.probe_split import standardise
from mimgen.probing.sweep import Sweep, accuracies, principal, sweep_probe, train_all


def blobs(n: int, seed: int, features: int = 10, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    centres = torch.randn(4, features, generator=torch.Generator().manual_seed(9))
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(4, (n,), generator=generator)
    return centres[y] + spread * torch.randn(n, features, generator=generator), y


@pytest.mark.parametrize("features", [10, 70])
def test_principal_axes_keep_all_distances(features: int) -> None:
    x, points = standardise(blobs(40, 0, features)[0], blobs(9, 1, features)[0])
    rotated, others, variances = principal(x, points)
    assert torch.allclose(rotated @ rotated.T, x @ x.T, atol=1e-3)
    assert torch.allclose(rotated @ others.T, x @ points.T, atol=1e-3)
    assert torch.allclose(rotated.T @ rotated / 40, variances.diag(), atol=1e-4)
    assert len(variances) == min(features, 39)  # centred images span one axis fewer


def test_a_setting_does_not_depend_on_the_others() -> None:
    x, y = blobs(100, 0)
    rotated, _, variances = principal(*standardise(x, x))
    sweep = Sweep((0.1, 1.0), (1e-3, 0.1), epochs=2, batch=30)
    together = train_all(rotated, y, 4, variances, sweep.settings, sweep, 0)
    alone = train_all(rotated, y, 4, variances, [sweep.settings[2]], sweep, 0)
    assert sweep.settings[2] == (1.0, 1e-3)
    assert torch.allclose(together[2], alone[0], atol=1e-6)
    assert not torch.allclose(together[2], together[0], atol=1e-3)


def test_the_first_step_is_the_bounded_newton_step() -> None:
    x, y = blobs(50, 0)
    rotated, _, variances = principal(*standardise(x, x))
    sweep = Sweep((0.5,), (0.2,), epochs=1, batch=50, momentum=0.0)
    got = train_all(rotated, y, 4, variances, sweep.settings, sweep, 0)[0]
    slope = rotated.T @ (torch.full((50, 4), 0.25) - torch.nn.functional.one_hot(y, 4)) / 50
    bound = variances + 0.01 * variances.mean() + 2 * 0.2
    assert torch.allclose(got[:-1], -0.5 * 2 / bound[:, None] * slope, atol=1e-5)


def test_full_batches_reach_the_minimum() -> None:
    x, y = blobs(100, 0, spread=2.0)
    rotated, _, variances = principal(*standardise(x, x))
    sweep = Sweep((1.0,), (0.05,), epochs=300, batch=100, momentum=0.5)
    got = train_all(rotated, y, 4, variances, sweep.settings, sweep, 0)[0]
    expected = fit_logistic(rotated.double(), y, 4, 0.05, tolerance=1e-8)
    assert torch.allclose(got[:-1].double(), expected[:-1], atol=2e-3)


def test_probe_is_about_as_good_as_ridge() -> None:
    train, test = blobs(300, 0, spread=1.5), blobs(400, 1, spread=1.5)
    result = sweep_probe(*train, *test, seed=0)
    assert result.accuracy > linear_probe(*train, *test, seed=0).accuracy - 0.03
    assert len(result.details["validations"]) == 30
    assert result.validation == max(result.details["validations"])
    assert result == sweep_probe(*train, *test, seed=0)


def test_a_diverged_setting_is_never_chosen() -> None:
    x, y = blobs(40, 0)
    weights = torch.stack([torch.zeros(11, 4), torch.full((11, 4), math.nan)])
    assert accuracies(torch.cat([x], 1), y, weights)[1] == -1.0
    found = sweep_probe(x, y, x, y, seed=0, sweep=Sweep((1.0, 1e38), (0.1,), epochs=3))
    assert found.details["rate"] == 1.0


def test_broken_settings_are_named() -> None:
    with pytest.raises(UserError, match="rates must be above 0"):
        Sweep(rates=(0.0,))
    with pytest.raises(UserError, match="momentum in"):
        Sweep(momentum=1.0)
    x, y = blobs(40, 0)
    with pytest.raises(UserError, match="every setting diverged"):
        sweep_probe(x, y, x, y, seed=0, sweep=Sweep((1e38,), (0.1,), epochs=3))
