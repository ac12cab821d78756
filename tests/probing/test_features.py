"""Feature extraction from a small encoder whose features are known."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.probing import extract, raw_pixels
from mimgen.types import Tokens


class Patches(nn.Module):
    """Tokens are patch means; block i multiplies by i + 1, the output by 10."""

    dim, depth, patch = 3, 2, 2

    def __init__(self, prefixes: int = 1) -> None:
        super().__init__()
        self.prefixes, self.batches = prefixes, []
        self.dropout = nn.Dropout(0.5)
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor, *, layers: Sequence[int] = ()) -> Tokens:
        self.batches.append(len(images))
        plane = nn.functional.avg_pool2d(images, 2)
        patches = self.dropout(self.one * plane.flatten(2).transpose(1, 2))
        prefix = patches.mean(1, keepdim=True).expand(-1, self.prefixes, -1) + 100
        levels = tuple(patches * (layer + 1) for layer in layers)
        return Tokens(patches * 10, (plane.shape[2], plane.shape[3]), prefix, levels)


IMAGES = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
MEANS = IMAGES.mean((2, 3))


def test_output_is_pooled_in_eval_mode_without_gradient() -> None:
    encoder = Patches().train()
    features = extract(encoder, IMAGES, batch_size=2)
    torch.testing.assert_close(features.joined, MEANS * 10)
    assert encoder.batches == [2, 2, 1]
    assert encoder.training
    assert not features.joined.requires_grad
    assert features.pooling == "mean"


def test_layers_count_from_both_ends() -> None:
    levels = extract(Patches(), IMAGES, [0, -1, 2]).levels
    assert list(levels) == [0, 1, 2]
    for layer, factor in ((0, 1), (1, 2), (2, 10)):
        torch.testing.assert_close(levels[layer], MEANS * factor)
    assert extract(Patches(), IMAGES, [0, 1]).joined.shape == (5, 6)


def test_grid_pooling_keeps_places() -> None:
    features = extract(Patches(), IMAGES, pooling="grid").joined
    expected = nn.functional.adaptive_avg_pool2d(IMAGES, 4).flatten(1) * 10
    torch.testing.assert_close(features, expected)


def test_prefix_pooling() -> None:
    torch.testing.assert_close(extract(Patches(), IMAGES, pooling="prefix").joined, MEANS + 100)
    with pytest.raises(UserError, match="no prefix tokens"):
        extract(Patches(prefixes=0), IMAGES, pooling="prefix")
    with pytest.raises(UserError, match="output only"):
        extract(Patches(), IMAGES, [0], pooling="prefix")


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(UserError, match="mean, grid, prefix"):
        extract(Patches(), IMAGES, pooling="average")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="layer 3 does not exist"):
        extract(Patches(), IMAGES, [3])
    with pytest.raises(UserError, match="at least one"):
        extract(Patches(), IMAGES[:0])


def test_mode_is_put_back_after_an_error() -> None:
    encoder = Patches(prefixes=0).train()
    with pytest.raises(UserError):
        extract(encoder, IMAGES, pooling="prefix")
    assert encoder.training


def test_raw_pixels() -> None:
    assert raw_pixels(IMAGES).shape == (5, 768)
    torch.testing.assert_close(raw_pixels(IMAGES), IMAGES.flatten(1))
    torch.testing.assert_close(raw_pixels(IMAGES, 1), MEANS, atol=0.1, rtol=0)
