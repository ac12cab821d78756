"""The preset that lies with the weights."""

import json
from dataclasses import asdict

from mimgen.generators import FeatureCache, Speed
from mimgen.pipelines import Preset


def test_speed_is_saved_with_the_preset() -> None:
    preset = Preset(steps=4, crop=(3, 4), speed=Speed(guide_features=False, cache=FeatureCache(2, "merge")))
    assert Preset.read(json.loads(json.dumps(asdict(preset)))) == preset


def test_folders_from_before_speed_was_saved_open() -> None:
    old = {name: value for name, value in asdict(Preset(steps=5)).items() if name != "speed"}
    assert Preset.read(old) == Preset(steps=5)
