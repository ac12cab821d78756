import pytest
import torch

from mimgen.tokenizers.usage import CodeUsage


def test_perplexity_active_and_dead_codes():
    usage = CodeUsage(8)
    usage.update(torch.tensor([[0, 1], [2, 3]]))
    usage.update(torch.tensor([0, 1, 2, 3]))
    metrics = usage.metrics()
    assert metrics["perplexity"] == pytest.approx(4.0)
    assert metrics["active_codes"] == 4
    assert metrics["dead_codes"] == 4
    usage.reset()
    assert usage.metrics()["active_codes"] == 0


def test_window_forgets():
    usage = CodeUsage(4, window=2)
    for code in (0, 0, 1, 1, 2):
        usage.update(torch.tensor([code]))
    assert usage.metrics()["active_codes"] == 2
