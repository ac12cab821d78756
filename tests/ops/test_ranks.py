"""Rank correlation by hand."""

from __future__ import annotations

import pytest

from mimgen.ops.ranks import rank_correlation


def test_rank_correlation_is_spearmans() -> None:
    assert rank_correlation([(1, 5.0), (2, 4.0), (9, 1.0)]) == pytest.approx(-1)
    assert rank_correlation([(1, 1.0), (2, 1.0), (3, 2.0)]) == pytest.approx(0.8660254)
    assert rank_correlation([(1, 1.0), (2, 1.0)]) == 0
