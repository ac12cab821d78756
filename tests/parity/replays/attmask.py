"""Replays of AttMask: masks from attention."""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.methods.attmask import AttentionMasking, Mode, class_attention
from tests.parity.cases import Case, Replay

MODES: dict[str, Mode] = {"attmask_high": "high", "attmask_low": "low", "attmask_hint": "hints"}


def replay_attmask(case: Case) -> dict[str, Tensor]:
    """The mean over heads, and one mask for each set of arguments."""
    outputs = {}
    if "attention_heads" in case.inputs:
        outputs["cls_attention"] = class_attention(case.inputs["attention_heads"])
    scores = case.inputs["attention"]
    rows, patches = scores.shape
    for name, options in case.config.items():
        pool = options.get("show_max", 0.1)
        masking = AttentionMasking(
            MODES[options["masking_mode"]], pool=pool, chance=options.get("masking_prob", 0.5)
        )
        share = torch.full((rows,), options.get("masking_ratio", 0.3), dtype=torch.float64)
        shown = torch.full((rows,), options.get("show_ratio", 0.0), dtype=torch.float64)
        keys = case.inputs.get("reveal_key", torch.zeros(rows, patches))
        mask = masking.choose(scores, share, shown, case.inputs["prob_draw"], keys)
        outputs[f"mask_{name}"] = mask.masked.to(torch.uint8)
    return outputs


REPLAYS: dict[str, Replay] = {"attmask": replay_attmask}
