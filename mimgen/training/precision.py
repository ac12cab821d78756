"""Which number format this machine multiplies in hardware."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

# The kernel lists a flag only where it also lets programs use it (AMX needs its consent). "bf16" is how ARM names it.
_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Precision:
    """A number format and the reason for it.

    Attributes:
        name: "bf16" (autocast) or "fp32".
        reason: a few words for the training's output.
    """

    name: str
    reason: str


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """Resolve "auto" to bf16 where the device has instructions for it, else to fp32; other values are kept.

    Nothing is timed, so that the answer is the same however busy the machine is. CUDA needs compute capability 8.0.
    A CPU needs AMX, AVX-512 or ARM instructions for bf16: without them it is emulated, up to 150 times slower than
    fp32. Where that cannot be found out (no Linux, other devices) the answer is fp32.
    """
    if wanted != "auto":
        return Precision(wanted, "as asked")
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return Precision("bf16" if major >= 8 else "fp32", f"compute capability {major}.{minor}")
    if device.type != "cpu":
        return Precision("fp32", f"bf16 is not chosen by itself on {device.type}")
    if not torch.backends.mkldnn.is_available():
        return Precision("fp32", "this PyTorch lacks oneDNN, which multiplies bf16")
    flag = _bf16_flag(_CPUINFO)
    return Precision("bf16", f"the CPU has {flag}") if flag else Precision("fp32", "no bf16 instructions were found")


@cache
def _bf16_flag(cpuinfo: Path) -> str | None:
    """The first of the wanted flags that the first processor lists ("flags" on x86, "Features" on ARM)."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    listed = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return next((flag for flag in _FLAGS if flag in listed.split()), None)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which an objective is called."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
