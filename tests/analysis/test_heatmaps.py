"""Images of attention show what they say."""

import pytest
import torch

from mimgen.analysis import alike, attention_heatmap, components, heatmap, heatmap_table, overlay
from mimgen.errors import UserError


def test_the_class_token_says_where_it_looks_and_else_all_patches() -> None:
    maps = torch.tensor([[0.2, 0.6, 0.2], [0.0, 0.5, 0.5], [0.0, 1.0, 0.0]])
    assert attention_heatmap(maps, prefix=1).tolist() == pytest.approx([0.75, 0.25])
    patches = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    assert attention_heatmap(patches, prefix=0).tolist() == pytest.approx([0.75, 0.25])


def test_the_brightest_patch_is_the_heaviest() -> None:
    image = overlay(torch.full((3, 8, 12), 0.5), torch.tensor([0.0, 1, 2, 0, 0, 4]), (2, 3))
    assert image.shape == (3, 8, 12) and float(image.min()) >= 0 and float(image.max()) <= 1
    brightness = image.mean(0)
    assert bool((brightness[4:, 8:] == brightness.max()).all())
    assert bool((brightness[:4, :4] == brightness.min()).all())
    with pytest.raises(UserError, match="do not fit"):
        overlay(torch.zeros(3, 8, 8), torch.ones(5), (2, 2))


def test_heat_gets_brighter_and_marks_what_is_not_defined() -> None:
    colours = heatmap(torch.tensor([[0.0, 0.3, 0.6, 1.0, torch.nan]]))
    assert bool((colours.mean(0)[0, :4].diff() > 0).all())
    assert colours[:, 0, 4].tolist() == [0.5, 0.5, 0.5]
    assert heatmap_table(torch.eye(2), cell=3).shape == (3, 6, 6)


def test_alike_patches_have_one_colour() -> None:
    tokens = torch.zeros(1, 4, 5)
    tokens[0, :2, 0], tokens[0, 2:, 1] = 2.0, 1.0
    assert alike(tokens[0], 0).tolist() == pytest.approx([1, 1, 0, 0])
    image = components(tokens, (2, 2), 4)[0]
    assert image.shape == (3, 4, 4)
    assert torch.equal(image[:, 0, 0], image[:, 1, 3]) and not torch.equal(image[:, 0, 0], image[:, 3, 3])
    assert components(tokens[..., :2], (2, 2), 4).shape == (1, 3, 4, 4)  # fewer directions than colours
