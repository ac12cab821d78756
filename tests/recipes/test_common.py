"""Flags that every training has: what they say goes, then the size, and what a config fixed."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest

from mimgen import configs
from mimgen.errors import UserError
from mimgen.recipes import DEFAULT_FLAGS, DataConfig, Pretrain, TrainFlags
from mimgen.training import Settings


@dataclass(frozen=True)
class Plain:
    """A size that does not say how long to warm up."""

    pixels: int = 32
    batch: int = 16
    base_lr: float = 2e-3
    steps: int = 70


@dataclass(frozen=True)
class Warm(Plain):
    """A size that says it."""

    warmup: int = 7


def test_the_size_says_what_no_flag_says() -> None:
    assert DEFAULT_FLAGS.settings(Plain()) == Settings(steps=70, batch_size=16, base_lr=2e-3)
    assert DEFAULT_FLAGS.settings(Warm()) == Settings(steps=70, batch_size=16, base_lr=2e-3, warmup=7)
    assert DEFAULT_FLAGS.data_config("photos", Plain()) == DataConfig("photos", 32)


def test_flags_go_before_the_size() -> None:
    common = TrainFlags(3, 48, 4, 1e-1, "bf16", 9.0, "none", 5)
    expected = Settings(
        steps=3, batch_size=4, base_lr=1e-1, precision="bf16", time_limit=9.0, tracker="none", seed=5, warmup=7
    )
    assert common.settings(Warm()) == expected
    assert common.data_config("emoji", Warm()) == DataConfig("emoji", 48)


def test_zero_is_a_value() -> None:
    assert TrainFlags(steps=0).settings(Plain()).steps == 0
    with pytest.raises(UserError, match="batch_size=0"):
        TrainFlags(batch_size=0).settings(Plain())
    with pytest.raises(UserError, match="0 pixels"):
        TrainFlags(pixels=0).data_config("emoji", Plain())


def test_a_config_fixes_the_rest() -> None:
    settings = DEFAULT_FLAGS.settings(Warm(), warmup=1, betas=(0.9, 0.95), clip=0.0, ema=0.0, weight_decay_end=0.4)
    assert (settings.warmup, settings.betas, settings.clip, settings.ema) == (1, (0.9, 0.95), 0.0, 0.0)
    assert settings.weight_decay_end == 0.4
    assert settings.weight_decay == Settings(steps=1).weight_decay


def test_flags_have_the_settings_usual_values() -> None:
    usual = {each.name: each.default for each in fields(Settings)}
    for each in fields(TrainFlags):
        assert each.default is None or each.default == usual[each.name], each.name


def test_a_run_records_what_its_signature_does_not_say() -> None:
    run = configs.experiment("mae")(size="tiny", normalise=False, steps=3, seed=1, mask_ratio=0.75)
    assert isinstance(run, Pretrain) and run.options == {"normalise": False}
    assert run.record()["normalise"] is False and run.record()["size"] == "tiny"
    lengthened = configs.experiment("meissonic")(size="tiny", sampling_steps=3, official_timesteps=True)
    assert lengthened.options == {"official_timesteps": True}, "how it samples may change"
