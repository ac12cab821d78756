"""Temperatures over the steps."""

import pytest

from mimgen.errors import UserError
from mimgen.sampling.temperatures import Falling, Ramp, Sharpening


def course(temperature: object, steps: int) -> list[float]:
    return [temperature.at(step, steps) for step in range(steps)]  # type: ignore[attr-defined]


def test_a_ramp_reaches_both_ends() -> None:
    assert course(Ramp(4.0, 0.0), 5) == [4.0, 3.0, 2.0, 1.0, 0.0]
    assert course(Ramp(4.0, 0.0), 1) == [4.0]


def test_falling_starts_below() -> None:
    assert course(Falling(4.5), 3) == pytest.approx([3.0, 1.5, 0.0])
    # 0.5 + 0.8 (1 - r) of TiTok
    assert course(Falling(1.3, 0.5), 4) == pytest.approx([0.5 + 0.8 * (1 - (s + 1) / 4) for s in range(4)])


def test_sharpening_inverts_the_factor_and_is_gentle_at_first() -> None:
    assert course(Sharpening(1.0, 2.0), 3) == pytest.approx([1.0, 1 / 1.5, 0.5])
    assert course(Sharpening(1.0, 2.0, power=2, warmup=2), 3) == pytest.approx([2.0, 2 / 2.25, 0.25])
    with pytest.raises(UserError, match="above 0"):
        Sharpening(0.0, 1.0)
