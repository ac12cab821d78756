"""The last part of a schedule: how much is masked, and what of steps, temperature and guidance is left."""

from __future__ import annotations

import math

import pytest

from mimgen.errors import UserError
from mimgen.pipelines import Preset
from mimgen.pipelines.strength import continued, masked_share
from mimgen.sampling import Cosine, Linear, Remaining


@pytest.mark.parametrize(("strength", "share"), [(0.3, 0.454), (0.5, 0.707), (1.0, 1.0)])
def test_share_that_is_hidden(strength, share):
    assert masked_share(Preset(), strength) == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize("strength", [0, -1, 1.01, math.nan])
def test_strength_out_of_range(strength):
    with pytest.raises(UserError, match="strength"):
        masked_share(Preset(), strength)


def test_everything_goes_on_from_there():
    preset = Preset(steps=10, choice_temperature=(2.0, 0.2), guidance_interval=(0.6, 0.8))
    left, schedule = continued(preset, 0.5)
    assert left.steps == 5
    assert left.choice_temperature == (pytest.approx(2 - 1.8 * 5 / 9), 0.2)
    # steps 6 to 8 of 10 are steps 1 to 3 of the five that are left
    assert left.guidance_interval == (pytest.approx(0.2), pytest.approx(0.6))
    for step in range(5):
        now = schedule((step + 1) / 5) * Cosine()(0.5)
        assert now == pytest.approx(Cosine()((step + 6) / 10), abs=1e-6)


def test_guidance_that_is_over_stays_off():
    left, _ = continued(Preset(steps=10, guidance_interval=(0.0, 0.4), guidance_scale=4.0), 0.2)
    assert left.guidance_scale == 1.0


def test_at_least_one_step_and_no_rounding_down():
    assert continued(Preset(steps=1), 0.6)[0].steps == 1
    assert continued(Preset(steps=100), 0.29)[0].steps == 29
    assert continued(Preset(steps=7), 1.0) == (Preset(steps=7), Cosine())


def test_a_remaining_schedule_refuses_a_finished_one():
    assert Remaining(Linear(), 0.5).known(0.5) == pytest.approx(0.5)
    with pytest.raises(UserError, match="done"):
        Remaining(Linear(), 1.0)
