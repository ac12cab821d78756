"""The checker is right on every true picture and refuses every picture with one wrong attribute."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mimgen.data.builtin.scene_claims import CATEGORIES, NUMBERS, RELATIONS, Claim, Part
from mimgen.data.builtin.scene_pictures import COLOURS, GROUNDS, SHAPES, Scene, Thing, render
from mimgen.data.builtin.scenes import draw_claim, draw_scene, open_scenes
from mimgen.errors import UserError
from mimgen.evaluation.scene_reader import read_scene
from mimgen.evaluation.scenes import check_scene, evaluate_scenes, verify_scenes


def picture(scene: Scene, size: int) -> Tensor:
    return render(scene, size).float() / 255


def wrong(claim: Claim) -> Iterator[tuple[str, Claim]]:
    """Every claim that differs in one attribute and is false of the same picture."""
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
def test_true_pictures_are_right_and_wrong_attributes_are_found(size: int) -> None:
    scenes = open_scenes(size, "val")
    faults: set[str] = set()
    for item in scenes.items[:72]:
        seen = read_scene(picture(item.scene, size))
        assert check_scene(item.claim, seen).fault is None, (item.claim.caption, seen)
        for fault, claim in wrong(item.claim):
            assert check_scene(claim, seen).fault == fault, (item.claim.caption, claim.caption, seen)
            faults.add(fault)
    assert faults == {"number", "shape", "colour", "binding", "position"}


@pytest.mark.parametrize("ground", GROUNDS)
def test_every_shape_in_every_colour_is_read_with_its_place(ground: str) -> None:
    source = random.Random(0)
    for shape in SHAPES:
        for colour in COLOURS:
            x, y, radius = source.uniform(0.3, 0.7), source.uniform(0.3, 0.7), source.uniform(0.1, 0.17)
            (seen,) = read_scene(picture(Scene((Thing(shape, colour, x, y, radius),), ground), 64))
            assert (seen.shape, seen.colour) == (shape, colour) and seen.fit > 0.85
            assert seen.x == pytest.approx(x, abs=0.004) and seen.y == pytest.approx(y, abs=0.004)
            assert seen.radius == pytest.approx(radius, abs=0.004)


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
    picture = torch.ones(3, 64, 64)
    picture[:, 10:50, 10:14] = torch.tensor(COLOURS["red"])[:, None, None]  # a long bar
    (seen,) = read_scene(picture)
    assert seen.shape is None and seen.colour == "red"
    assert check_scene(Claim((Part("square", "red"),)), [seen]).fault == "shape"
    assert read_scene(torch.full((3, 64, 64), 0.3)) == ()


def test_scores_are_the_means_of_kinds() -> None:
    source = random.Random(1)
    claims = [draw_claim(kind, source) for kind in CATEGORIES for _ in range(2)]
    images = torch.stack([picture(draw_scene(claim, source), 32) for claim in claims])
    images[0] = 1.0  # an empty picture instead of the first single object
    found = evaluate_scenes(verify_scenes(images, [claim.caption for claim in claims]))
    assert found["scores"]["overall"] == pytest.approx((0.5 + 5) / 6)
    assert found["scores"]["single object"]["mean"] == 0.5 and found["faults"]["single object"] == {
        "number": 1
    }
    # Wilson's interval of 1 in 2 and of 2 in 2, worked out by hand: z^2 = 3.8415
    assert found["scores"]["single object"]["low"] == pytest.approx(0.0945, abs=1e-4)
    assert found["scores"]["colour"]["low"] == pytest.approx(2 / (2 + 3.8415), abs=1e-4)
    assert found["scores"]["colour"]["high"] == 1.0 and found["n"] == 12 and found["counts"]["count"] == 2


def test_bad_input_is_refused() -> None:
    white = torch.ones(2, 3, 64, 64)
    with pytest.raises(UserError, match="one caption a picture"):
        verify_scenes(white, ["a circle"])
    with pytest.raises(UserError, match="not one of the scene set"):
        verify_scenes(white, ["a circle", "a dog"])
    with pytest.raises(UserError, match="NaN"):
        verify_scenes(white * float("nan"), ["a circle", "a circle"])
    with pytest.raises(UserError, match="no picture"):
        evaluate_scenes([])
