"""Which number format this machine multiplies fastest."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

import torch

# A CPU without bf16 instructions emulates them up to 150 times slower, so the probe starts with
# matrices that cost microseconds and goes on only while bf16 keeps up.
_SIZES = (64, 128, 256, 512)
_GIVE_UP = 3.0
_BUDGET_SECONDS = 0.2


def choose_precision(wanted: str, device: torch.device) -> str:
    """Resolve "auto" to "bf16" or "fp32"; other values are returned as they are.

    On CUDA bf16 is chosen where the card supports it; elsewhere a bf16 matmul is timed against
    an fp32 one for at most 0.2 s.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type != "cpu":
        return "fp32"
    return "bf16" if _bf16_wins() else "fp32"


def _bf16_wins() -> bool:
    end = time.perf_counter() + _BUDGET_SECONDS
    ratio = float("inf")
    for size in _SIZES:
        if time.perf_counter() > end:
            return False  # a slow or busy machine: an early, noisy ratio must not decide
        ratio = _seconds(size, torch.bfloat16) / max(_seconds(size, torch.float32), 1e-9)
        if ratio > _GIVE_UP:
            return False
    # bf16 loses bits, so it must win clearly, and at the largest size.
    return ratio < 0.9


def _seconds(size: int, dtype: torch.dtype) -> float:
    """Best of three timings of a [size, size] matmul, after one warming call."""
    matrix = torch.full((size, size), 0.5, dtype=dtype)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which an objective is called."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
