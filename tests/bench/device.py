"""Where a benchmark runs and in which number format, as its flags say."""

from __future__ import annotations

import torch

from mimgen.errors import UserError

__all__ = ["device_and_precision"]


def device_and_precision(device: str, precision: str) -> tuple[str, str]:
    """("cpu" or "cuda", "fp32" or "bf16") for flags that may also say "auto".

    Raises:
        UserError: a GPU is asked for where there is none.
    """
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise UserError("no GPU is there: leave out --device, or take --device cpu")
    chosen = ("cuda" if found else "cpu") if device == "auto" else device
    return chosen, ("bf16" if chosen == "cuda" else "fp32") if precision == "auto" else precision
