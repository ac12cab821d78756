"""Maps as images, and the pointing game with known answers."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.probing.maps import attention_images, heatmap, patch_maps, pointing_game, query_strips


def peaks(*cells: int, count: int = 4) -> torch.Tensor:
    """One map [1, K, N], of which map k is 1 at cells[k]."""
    return torch.nn.functional.one_hot(torch.tensor(cells), count).float()[None]


def test_heat_runs_from_dark_to_bright() -> None:
    colours = heatmap(torch.tensor([[[0.0, 1.0], [0.5, 0.25]]]), (2, 2))[0]
    assert torch.allclose(colours[:, 0, 0] * 255, torch.tensor([68.0, 1, 84]))
    assert torch.allclose(colours[:, 0, 1] * 255, torch.tensor([253.0, 231, 37]))
    assert torch.allclose(colours[:, 1, 0] * 255, torch.tensor([33.0, 145, 140]))
    assert torch.allclose(colours[:, 1, 1] * 255, torch.tensor([59.0, 82, 139]))
    flat = heatmap(torch.full((1, 2, 2), 7.0), (4, 4))
    assert torch.allclose(flat, flat[..., :1, :1].expand_as(flat))


def test_images_under_their_maps() -> None:
    images, maps = torch.zeros(1, 3, 8, 8), peaks(0, 3)
    assert torch.equal(attention_images(images, maps, (2, 2), strength=0.0), images)
    first = attention_images(images, maps, (2, 2), query=0, strength=1.0)[0].sum(0)
    assert first[0, 0] > first[7, 7]
    mean = attention_images(images, maps, (2, 2), strength=1.0)[0].sum(0)
    assert torch.allclose(mean[0, 0], mean[7, 7]) and mean[0, 0] > mean[0, 7]
    assert query_strips(images, maps, (2, 2)).shape == (1, 3, 8, 32)
    assert query_strips(images, maps[:, :1], (2, 2)).shape == (1, 3, 8, 16)
    assert query_strips(images, torch.rand(1, 20, 4), (2, 2), maximum=3).shape == (1, 3, 8, 40)


def test_prefix_tokens_are_left_out() -> None:
    maps = torch.arange(5.0)[None, None]
    assert torch.equal(patch_maps(maps, (2, 2))[0, 0], torch.tensor([[1.0, 2], [3, 4]]))


def test_the_pointing_game() -> None:
    objects = torch.zeros(2, 4, 4, dtype=torch.bool)
    objects[:, :2, :2] = True  # cell 0 of a 2 x 2 grid
    maps = torch.cat([peaks(0, 3), peaks(0, 0)])
    loss_config = pointing_game(maps, (2, 2), objects)
    assert loss_config.each.tolist() == [1.0, 0.5]
    assert loss_config.best == 0 and loss_config.chance == 0.25 and loss_config.n == 2
    assert loss_config.average == 1.0


def test_misuse_is_named() -> None:
    images, maps = torch.zeros(1, 3, 8, 8), peaks(0, 3)
    with pytest.raises(UserError, match="query 2 does not exist"):
        attention_images(images, maps, (2, 2), query=2)
    with pytest.raises(UserError, match="1 images but maps of 2"):
        attention_images(images, maps.repeat(2, 1, 1), (2, 2))
    with pytest.raises(UserError, match="at least 9 tokens"):
        patch_maps(maps, (3, 3))
    with pytest.raises(UserError, match="NaN"):
        patch_maps(maps * float("nan"), (2, 2))
    with pytest.raises(UserError, match="show no object"):
        pointing_game(maps, (2, 2), torch.zeros(1, 4, 4))
    with pytest.raises(UserError, match="divide into the grid"):
        pointing_game(maps, (2, 2), torch.ones(1, 5, 4))
