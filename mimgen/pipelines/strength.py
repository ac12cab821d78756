"""Editing with a strength: the image is masked in part, and the schedule continues from there."""

from __future__ import annotations

from dataclasses import replace

from mimgen.errors import UserError
from mimgen.pipelines.presets import SCHEDULES, Preset
from mimgen.sampling import Remaining, Schedule

__all__ = ["continued", "masked_share"]


def masked_share(preset: Preset, strength: float) -> float:
    """Share of the tokens, in (0, 1], that the schedule has still masked when a part `strength` of it is left.

    With the cosine 30 % strength masks 45 % of the tokens, 50 % masks 71 % and 100 % all. (The released pipeline
    reads its schedule one step earlier, which at full strength is the last one, so that nothing is masked.)

    Raises:
        UserError: strength outside (0, 1].
    """
    if not 0 < strength <= 1:
        raise UserError(
            f"strength {strength}: give a number above 0 (keep nearly everything) and up to 1 (generate all anew)"
        )
    return 1.0 if strength == 1 else SCHEDULES[preset.schedule](1 - strength)


def _from(temperature: float | tuple[float, float], risen: float) -> float | tuple[float, float]:
    """What is left of a temperature's way when a share `risen` of it is done; constants stay."""
    if not isinstance(temperature, tuple):
        return temperature
    start, end = temperature
    return start + (end - start) * risen, end


def continued(preset: Preset, strength: float) -> tuple[Preset, Schedule]:
    """The last part of a preset's steps: int(S * strength) of them, at least one.

    Temperature and guidance interval continue from where the skipped steps would have left them.

    Args:
        preset: of the whole run.
        strength: in (0, 1].

    Returns:
        The preset of the steps that are made, and what of the schedule remains.
    """
    schedule = SCHEDULES[preset.schedule]
    if strength == 1:
        return preset, schedule
    steps = max(1, int(preset.steps * strength + 1e-6))  # 100 * 0.29 is 28.999999999999996
    skipped = preset.steps - steps
    choice = preset.choice_temperature if isinstance(preset.choice_temperature, tuple) else (
        preset.choice_temperature, 0.01)  # fmt: skip
    risen = skipped / max(1, preset.steps - 1)
    done = skipped / preset.steps
    low, high = ((edge - done) / (1 - done) for edge in preset.guidance_interval)
    left = replace(
        preset,
        steps=steps,
        choice_temperature=_from(choice, risen),
        token_temperature=_from(preset.token_temperature, risen),
        logit_temperature=_from(preset.logit_temperature, risen),
        guidance_interval=(max(0.0, low), max(0.0, high)),
        guidance_scale=preset.guidance_scale if high >= 0 else 1.0,
    )
    return left, Remaining(schedule, 1 - strength)
