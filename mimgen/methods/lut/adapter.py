"""Official LUT checkpoints (naver-ai/lut): encoder alone, with decoder, or fine-tuned.

The folder that is written is one of a `VitEncoder`; where the release has MAE's decoder, too, it lies in the
subfolder `decoder`. Head and predictor of the context loss are left out, and so is the teacher.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.release import StateDictAdapter
from mimgen.methods.mae import adapter as mae

HEADS = ("head", "predictor")


def rename(key: str, *, heads: bool = False) -> str | None:
    """Our name of an official tensor of the student.

    Args:
        key: the official name; it may begin with "student." or "teacher.", the latter is left out.
        heads: whether head and predictor are wanted, too. The classifier of a fine-tuned model is a `head` as
            well, but has no layers inside.
    """
    if key.startswith("teacher."):
        return None
    key = key.removeprefix("student.")
    part, _, rest = key.partition(".")
    if part in HEADS and rest[:1].isdigit():
        return key if heads else None
    return mae.rename(key)


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `kind`, as of MAE's releases."""
    named = {key.removeprefix("student."): value for key, value in tensors.items() if rename(key) is not None}
    return mae.arguments(config, named)


ADAPTER = StateDictAdapter(
    "lut",
    "learning with unmasked tokens, pretrained or fine-tuned (Kim et al., 2024; github.com/naver-ai/lut)",
    mae.kind,
    arguments,
    rename,
)
