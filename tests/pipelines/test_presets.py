"""The preset that lies with the weights."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from mimgen.errors import UserError
from mimgen.generators import FeatureCache, Speed
from mimgen.pipelines import Preset


def test_speed_is_saved_with_the_preset() -> None:
    preset = Preset(steps=4, crop=(3, 4), speed=Speed(guide_features=False, cache=FeatureCache(2, "merge")))
    assert Preset.read(json.loads(json.dumps(asdict(preset)))) == preset


def test_folders_from_before_speed_was_saved_open() -> None:
    old = {name: value for name, value in asdict(Preset(steps=5)).items() if name != "speed"}
    assert Preset.read(old) == Preset(steps=5)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"resolution": (64,)}, "resolution=.* height and width"),
        ({"resolution": 64}, "resolution=64: give two numbers"),
        ({"crop": (0, 0, 0)}, "crop=.* left and top"),
        ({"crop": None}, "crop=None"),
        ({"original_size": (64, "64")}, "original_size=.* height and width"),
        ({"guidance_interval": (0.5,)}, "start and end"),
        ({"guidance_scale": float("nan")}, "guidance_scale=nan: give a finite number"),
        ({"guidance_scale": float("inf")}, "finite"),
    ],
)
def test_impossible_fields_say_what_to_give(fields: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Preset(**fields)


def test_numbers_of_numpy_will_do() -> None:
    preset = Preset(resolution=tuple(np.array([16, 24])), original_size=None, guidance_scale=np.float32(2))
    assert preset.resolution == (16, 24)
