"""The checker is right on every true image and refuses every image with one wrong attribute."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mimgen.data.builtin.scene_claims import CATEGORIES, NUMBERS, RELATIONS, Claim, Part
from mimgen.data.builtin.scene_images import COLOURS, GROUNDS, SHAPES, Scene, Thing, render
from mimgen.data.builtin.scenes import open_scenes, sample_claim, sample_scene
from mimgen.errors import UserError
from mimgen.evaluation.scene_reader import read_scene
from mimgen.evaluation.scenes import check_scene, evaluate_scenes, verify_scenes


def image(scene: Scene, size: int) -> Tensor:
    return render(scene, size).float() / 255


def wrong(claim: Claim) -> Iterator[tuple[str, Claim]]:
    """Every claim that differs in one attribute and is false of the same image."""
    first, rest = claim.parts[0], claim.parts[1:]
    for shape in SHAPES:
        if shape not in {part.shape for part in claim.parts}:
            yield "shape", replace(claim, parts=(replace(first, shape=shape), *rest))
    if first.colour is not None:
        for colour in COLOURS:
            if colour not in {part.colour for part in claim.parts}:
                yield "colour", replace(claim, parts=(replace(first, colour=colour), *rest))
    if rest:
        yield "number", Claim((first,))
    else:
        for count in range(1, len(NUMBERS) + 1):
            if count != first.count:
                yield "number", Claim((replace(first, count=count),))
    if claim.category == "binding":
        other = rest[0]
        yield "binding", Claim((replace(first, colour=other.colour), replace(other, colour=first.colour)))
    if claim.relation is not None:
        for relation in RELATIONS:
            if relation != claim.relation:
                yield "position", replace(claim, relation=relation)


@pytest.mark.parametrize("size", [32, 64])
def test_true_images_are_right_and_wrong_attributes_are_found(size: int) -> None:
    scenes = open_scenes(size, "val")
    errors: set[str] = set()
    for item in scenes.items[:72]:
        detected = read_scene(image(item.scene, size))
        assert check_scene(item.claim, detected).error is None, (item.claim.caption, detected)
        for error, claim in wrong(item.claim):
            assert check_scene(claim, detected).error == error, (item.claim.caption, claim.caption, detected)
            errors.add(error)
    assert errors == {"number", "shape", "colour", "binding", "position"}


@pytest.mark.parametrize("ground", GROUNDS)
def test_every_shape_in_every_colour_is_read_with_its_place(ground: str) -> None:
    source = random.Random(0)
    for shape in SHAPES:
        for colour in COLOURS:
            x, y, radius = source.uniform(0.3, 0.7), source.uniform(0.3, 0.7), source.uniform(0.1, 0.17)
            (detected,) = read_scene(image(Scene((Thing(shape, colour, x, y, radius),), ground), 64))
            assert (detected.shape, detected.colour) == (shape, colour) and detected.fit > 0.85
            assert detected.x == pytest.approx(x, abs=0.004) and detected.y == pytest.approx(y, abs=0.004)
            assert detected.radius == pytest.approx(radius, abs=0.004)


def test_noise_and_softness_are_allowed_for() -> None:
    scenes = open_scenes(64, "val")
    chosen = range(0, 60, 2)
    images = torch.stack([scenes[index].image for index in chosen]).float() / 255
    noisy = images + 0.05 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    captions = [scenes.captions[index] for index in chosen]
    assert all(verdict.right for verdict in verify_scenes(noisy.clamp(0, 1), captions))
    soft = torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    assert sum(verdict.right for verdict in verify_scenes(soft, captions)) >= 0.9 * len(captions)


def test_what_is_no_shape_has_none() -> None:
    image = torch.ones(3, 64, 64)
    image[:, 10:50, 10:14] = torch.tensor(COLOURS["red"])[:, None, None]  # a long bar
    (detected,) = read_scene(image)
    assert detected.shape is None and detected.colour == "red"
    assert check_scene(Claim((Part("square", "red"),)), [detected]).error == "shape"
    assert read_scene(torch.full((3, 64, 64), 0.3)) == ()


def test_scores_are_the_means_of_kinds() -> None:
    source = random.Random(1)
    claims = [sample_claim(kind, source) for kind in CATEGORIES for _ in range(2)]
    images = torch.stack([image(sample_scene(claim, source), 32) for claim in claims])
    images[0] = 1.0  # an empty image instead of the first single object
    found = evaluate_scenes(verify_scenes(images, [claim.caption for claim in claims]))
    assert found["scores"]["overall"] == pytest.approx((0.5 + 5) / 6)
    assert found["scores"]["single object"]["mean"] == 0.5 and found["errors"]["single object"] == {
        "number": 1
    }
    # Wilson's interval of 1 in 2 and of 2 in 2, worked out by hand: z^2 = 3.8415
    assert found["scores"]["single object"]["low"] == pytest.approx(0.0945, abs=1e-4)
    assert found["scores"]["colour"]["low"] == pytest.approx(2 / (2 + 3.8415), abs=1e-4)
    assert found["scores"]["colour"]["high"] == 1.0 and found["n"] == 12 and found["counts"]["count"] == 2


def test_bad_input_is_refused() -> None:
    white = torch.ones(2, 3, 64, 64)
    with pytest.raises(UserError, match="one caption per image"):
        verify_scenes(white, ["a circle"])
    with pytest.raises(UserError, match="not one of the scene set"):
        verify_scenes(white, ["a circle", "a dog"])
    with pytest.raises(UserError, match="NaN"):
        verify_scenes(white * float("nan"), ["a circle", "a circle"])
    with pytest.raises(UserError, match="no image"):
        evaluate_scenes([])
