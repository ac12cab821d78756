"""The procedural scene set: the same everywhere, true captions, and pairs that training never shows."""

from __future__ import annotations

import math
import random

import pytest
import torch

from mimgen.data import Dataset
from mimgen.data.builtin.scene_claims import CATEGORIES, RELATIONS, Claim, Part, read_caption
from mimgen.data.builtin.scene_images import (
    COLOURS,
    GROUNDS,
    SHAPES,
    Scene,
    Thing,
    coverage,
    render,
    segmentation,
)
from mimgen.data.builtin.scenes import COUNTS, HELD_OUT, open_scenes, sample_claim, sample_scene
from mimgen.errors import UserError


def test_it_is_a_dataset_with_labels() -> None:
    scenes = open_scenes(32, "val")
    assert isinstance(scenes, Dataset) and len(scenes) == COUNTS["val"] == len(set(scenes.keys))
    sample = scenes[2]
    assert sample.image.shape == (3, 32, 32) and sample.image.dtype == torch.uint8
    assert sample.caption == scenes.captions[2] and sample.key == "scenes-val-0002"
    assert scenes.label_names["category"][sample.labels["category"]] == "count"
    labels = scenes.labels
    assert labels["category"].bincount().tolist() == [100] * len(CATEGORIES)
    assert all(bool((ids >= 0).all()) for ids in labels.values())
    assert {name: int(ids[2]) for name, ids in labels.items()} == sample.labels
    with pytest.raises(IndexError):
        scenes[len(scenes)]


def test_the_set_is_the_same_everywhere() -> None:
    val, other = open_scenes(64, "val"), open_scenes(32, "val")
    assert val.captions == other.captions and val.fingerprint != other.fingerprint
    assert val.captions[:3] == open_scenes(64, "val").captions[:3]
    assert sample_claim("binding", random.Random(5)) == sample_claim("binding", random.Random(5))


def test_compose_holds_out_pairs_of_colour_and_shape() -> None:
    assert len(HELD_OUT) == len(COLOURS)
    for item in open_scenes(64, "val").items:
        assert not HELD_OUT & {(thing.colour, thing.shape) for thing in item.scene.things}
    for item in open_scenes(64, "compose").items:
        assert HELD_OUT & {(part.colour, part.shape) for part in item.claim.parts}
    with pytest.raises(UserError, match="name no colours"):
        sample_claim("single object", random.Random(0), new=True)


def test_objects_stay_apart_and_inside_and_relations_hold() -> None:
    for item in open_scenes(64, "val").items:
        things = item.scene.things
        assert len(things) == sum(part.count for part in item.claim.parts)
        for index, a in enumerate(things):
            assert a.radius < a.x < 1 - a.radius and a.radius < a.y < 1 - a.radius
            assert all(max(abs(a.x - b.x), abs(a.y - b.y)) > a.radius + b.radius for b in things[:index])
        if item.claim.relation == "above":
            assert things[0].y < things[1].y - 2 * abs(things[0].x - things[1].x)
        if item.claim.relation == "right of":
            assert things[0].x > things[1].x + 2 * abs(things[0].y - things[1].y)


@pytest.mark.parametrize("shape", SHAPES)
def test_forms_state_their_area_and_centre(shape: str) -> None:
    share = coverage(shape, 0.5, 0.5, 0.4, 64).double()
    area, positions = share.sum() / 64**2, (torch.arange(64) + 0.5) / 64
    assert float(area) == pytest.approx(SHAPES[shape].area * 0.4**2, rel=5e-3)
    across, down = ((share.sum(axis) * positions).sum() / share.sum() for axis in (0, 1))
    assert float(across) == pytest.approx(0.5, abs=1e-3)
    assert float(down) == pytest.approx(0.5 + SHAPES[shape].rise * 0.4, abs=2e-3)


def test_known_areas() -> None:
    assert SHAPES["circle"].area == pytest.approx(math.pi) and SHAPES["cross"].area == pytest.approx(20 / 9)
    assert SHAPES["ring"].area < SHAPES["circle"].area


def test_pixels_are_colour_inside_and_ground_outside() -> None:
    image = render(Scene((Thing("square", "red", 0.25, 0.5, 0.1),), "black"), 40)
    red, black = (torch.tensor(rgb).mul(255).round().byte() for rgb in (COLOURS["red"], GROUNDS["black"]))
    assert torch.equal(image[:, 20, 10], red) and torch.equal(image[:, 20, 30], black)
    assert int((image == red[:, None, None]).all(0).sum()) == 6 * 6  # 7.2 pixels wide: 6 lie wholly inside


def test_segmentation_says_which_shape_covers_a_pixel() -> None:
    scene = Scene((Thing("square", "red", 0.25, 0.25, 0.2), Thing("circle", "blue", 0.75, 0.75, 0.2)), "grey")
    found, names = segmentation(scene, 64), list(SHAPES)
    assert found.shape == (64, 64)
    assert found[16, 16] == 1 + names.index("square")
    assert found[48, 48] == 1 + names.index("circle")
    assert found[16, 48] == found[48, 16] == 0
    # a square of half side 0.9 * 0.2 of the image covers (2 * 0.18 * 64)^2 pixels, but for its border
    assert abs(int((found == 1 + names.index("square")).sum()) - 23.04**2) < 4 * 23.04
    scenes = open_scenes(32, "val")
    sample, scene = scenes[3], scenes.items[3].scene
    assert torch.equal(sample.extras["segmentation"], segmentation(scene, 32))
    for thing in scene.things:
        whole = coverage(thing.shape, thing.x, thing.y, thing.radius, 32) == 1
        assert bool((sample.extras["segmentation"][whole] == 1 + names.index(thing.shape)).all())


def test_captions_are_read_back() -> None:
    captions = [sample_claim(kind, random.Random(seed)).caption for kind in CATEGORIES for seed in range(30)]
    for caption in captions:
        assert read_caption(caption).caption == caption
    assert read_caption(" A red Circle  left of a blue square.") == Claim(
        (Part("circle", "red"), Part("square", "blue")), "left of"
    )
    assert read_caption("three green crosses") == Claim((Part("cross", "green", 3),))
    kinds = {read_caption(caption).category for caption in captions}
    assert kinds == set(CATEGORIES) and len(RELATIONS) == 4


@pytest.mark.parametrize(
    "caption",
    ["", "a red dog", "a circles", "two circle", "two red circles and a blue square", "a circle on a square"],
)
def test_other_captions_are_refused(caption: str) -> None:
    with pytest.raises(UserError, match="caption"):
        read_caption(caption)


def test_bad_sizes_and_splits_are_refused() -> None:
    with pytest.raises(UserError, match="no split 'test'"):
        open_scenes(64, "test")
    with pytest.raises(UserError, match="32 pixels"):
        open_scenes(16, "val")
    with pytest.raises(UserError, match="32 pixels"):
        render(sample_scene(Claim((Part("ring"),)), random.Random(0)), 31)
