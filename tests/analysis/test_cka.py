"""CKA: invariances, known values, and batches against the whole."""

import itertools

import pytest
import torch
from torch import Tensor

from mimgen.analysis import MinibatchCka, linear_cka, unbiased_hsic
from mimgen.errors import UserError


def points(rows: int, width: int, seed: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_rotation_scale_and_shift_change_nothing() -> None:
    x = points(20, 6, 0)
    rotation = torch.linalg.qr(points(6, 6, 1))[0]
    assert float(linear_cka(x, 3 * x @ rotation + 5)) == pytest.approx(1)
    assert float(linear_cka(x, x * torch.tensor([1, 1, 1, 1, 1, 9.0]))) < 0.9  # uneven scale does


def test_both_ways_to_compute_it_agree() -> None:
    x, y = points(9, 4, 2), points(9, 30, 3)  # Gram matrices here, covariances below
    centred_x, centred_y = x - x.mean(0), y - y.mean(0)
    cross, own, other = ((a.T @ b).square().sum() for a, b in
                         ((centred_x, centred_y), (centred_x, centred_x), (centred_y, centred_y)))  # fmt: skip
    assert float(linear_cka(x, y)) == pytest.approx(float(cross / (own * other).sqrt()))


def test_independent_directions_share_nothing() -> None:
    x = torch.tensor([[1.0], [-1], [1], [-1]])
    y = torch.tensor([[1.0], [1], [-1], [-1]])
    assert float(linear_cka(x, y)) == pytest.approx(0, abs=1e-12)
    assert linear_cka(x, torch.ones(4, 2)).isnan()


def test_hsic_is_unbiased_over_all_subsets() -> None:
    """The mean over all subsets of four is the estimate from all seven: a U-statistic."""
    x, y = points(7, 3, 4), points(7, 2, 5)
    left, right = x @ x.T, y @ y.T
    parts = [
        unbiased_hsic(left[list(four)][:, list(four)][None], right[list(four)][:, list(four)][None])
        for four in itertools.combinations(range(7), 4)
    ]
    assert torch.allclose(torch.stack(parts).mean(0), unbiased_hsic(left[None], right[None]))


def test_batches_come_near_the_whole_where_the_biased_estimate_does_not() -> None:
    x = points(1600, 8, 6)
    y = torch.cat([x[:, :4], points(1600, 4, 7)], dim=1)
    whole = float(linear_cka(x, y))
    cka = MinibatchCka()
    for left, right in zip(x.split(16), y.split(16), strict=True):
        cka.add([left, right], [right])
    found = cka.value()
    biased = torch.stack([linear_cka(a, b) for a, b in zip(x.split(16), y.split(16), strict=True)]).mean()
    assert found.shape == (2, 1) and float(found[1, 0]) == pytest.approx(1)
    assert float(found[0, 0]) == pytest.approx(whole, abs=0.03)
    assert abs(float(biased) - whole) > 0.06


def test_bad_input_is_refused() -> None:
    with pytest.raises(UserError, match="same images"):
        linear_cka(points(5, 2, 0), points(4, 2, 0))
    with pytest.raises(UserError, match="needs 4 images"):
        unbiased_hsic(torch.rand(1, 3, 3), torch.rand(1, 3, 3))
    with pytest.raises(UserError, match="both encoders must see the same"):
        MinibatchCka().add([points(5, 2, 0)], [points(6, 2, 0)])
    with pytest.raises(UserError, match="no batch"):
        MinibatchCka().value()
    constant = MinibatchCka()
    constant.add([torch.full((5, 3), 0.1)], [points(5, 2, 0)])
    assert constant.value().isnan().all()
