"""Labels of pixels read off patch tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.probing.segmentation import (
    _nearest,
    knn_segmentation,
    linear_segmentation,
    mean_iou,
    patch_shares,
)

GRID = (4, 4)


def scenes(n: int, seed: int, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """Tokens that are noisy signs of the class of their patch, and masks of 3 classes, 2 pixels per patch."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(0, 3, (n, *GRID), generator=generator)
    masks = classes.repeat_interleave(2, 1).repeat_interleave(2, 2)
    signs = F.one_hot(classes.flatten(1), 3).float() @ torch.tensor([[1.0, 0, 0, 2], [0, 1, 0, 2], [0, 0, 1, 2]])
    return signs + noise * torch.randn(signs.shape, generator=generator), masks


def test_shares_count_pixels_and_leave_out_the_ignored():
    mask = torch.tensor([[[0, 1, 2, 2], [1, 1, -1, 2], [-1, -1, 0, 0], [-1, -1, 0, 0]]])
    shares = patch_shares(mask, (2, 2), 3)
    expected = torch.tensor([[0.25, 0.75, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0]])
    assert torch.allclose(shares[0], expected)


@pytest.mark.parametrize("probe", [knn_segmentation, linear_segmentation])
def test_tokens_that_name_their_class_segment_well_and_noise_does_not(probe):
    result = probe(*scenes(24, 0), *scenes(12, 1), grid=GRID)
    random = probe(
        torch.randn(24, 16, 4, generator=torch.Generator().manual_seed(2)), scenes(24, 0)[1],
        torch.randn(12, 16, 4, generator=torch.Generator().manual_seed(3)), scenes(12, 1)[1], grid=GRID,
    )  # fmt: skip
    assert result.accuracy > 0.95 and result.miou > 0.9
    assert random.accuracy < 0.5 and random.miou < 0.35
    assert result.majority < 0.45 and set(result.iou) == {0, 1, 2}
    assert result.predicted is not None and "predicted" not in result.as_dict()


def test_mean_iou_by_hand():
    true = torch.tensor([[[0, 0, 1, -1]]])
    predicted = torch.tensor([[[0, 1, 1, 3]]])
    mean, each = mean_iou(predicted, true, 4)
    assert each == {0: 0.5, 1: 0.5} and mean == 0.5


def test_linear_map_is_the_ridge_solution():
    x, masks = scenes(6, 0, noise=1.0)
    other, _ = scenes(2, 1, noise=1.0)
    masks = masks[:, ::2, ::2]  # one pixel per patch: scores are not interpolated
    flat, shares = x.reshape(-1, 4).double().numpy(), F.one_hot(masks.reshape(-1), 3).double().numpy()
    mean, deviation, offset = flat.mean(0), flat.std(0), shares.mean(0)
    z = (flat - mean) / deviation
    # ridge as least squares with rows added, independent of the normal equations
    tall = np.concatenate([z / np.sqrt(len(z)), np.sqrt(0.05) * np.eye(4)])
    weights = np.linalg.lstsq(tall, np.concatenate([(shares - offset) / np.sqrt(len(z)), np.zeros((4, 3))]))[0]
    expected = ((other.reshape(-1, 4).numpy() - mean) / deviation @ weights + offset).argmax(1)
    result = linear_segmentation(x, masks, other, masks[:2], grid=GRID, regularisation=0.05)
    assert result.predicted.flatten().tolist() == expected.tolist()


def test_neighbours_over_slices_are_those_of_the_whole(monkeypatch):
    monkeypatch.setattr("mimgen.probing.segmentation._ROWS", 3)
    generator = torch.Generator().manual_seed(0)
    queries, bank = torch.randn(5, 4, generator=generator), torch.randn(40, 4, generator=generator)
    values, positions = _nearest(queries, bank, 7)
    expected = (queries @ bank.T).topk(7, dim=1)
    assert torch.allclose(values, expected.values) and torch.equal(positions, expected.indices)


def test_knn_does_not_depend_on_the_length_of_tokens():
    (x, masks), (other, true) = scenes(12, 0), scenes(6, 1)
    plain = knn_segmentation(x, masks, other, true, grid=GRID)
    scaled = knn_segmentation(x * 7, masks, other * 0.1, true, grid=GRID)
    assert torch.equal(plain.predicted, scaled.predicted)


def test_mistakes_name_the_fix():
    (x, masks), (other, true) = scenes(6, 0), scenes(3, 1)
    with pytest.raises(UserError, match="patch tokens only"):
        linear_segmentation(x[:, 1:], masks, other, true, grid=GRID)
    with pytest.raises(UserError, match="single class"):
        linear_segmentation(x, torch.zeros_like(masks), other, true, grid=GRID)
    with pytest.raises(UserError, match="do not divide"):
        linear_segmentation(x, masks[:, :7], other, true, grid=GRID)
    with pytest.raises(UserError, match="NaN"):
        knn_segmentation(x * torch.nan, masks, other, true, grid=GRID)
    with pytest.raises(UserError, match="must be positive"):
        knn_segmentation(x, masks, other, true, grid=GRID, k=0)
    with pytest.raises(UserError, match="features, test of"):
        knn_segmentation(x, masks, other[..., :3], true, grid=GRID)
