"""Replays of the Meissonic generator: viiika/Meissonic `src/transformer.py`."""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.convert.cases import Case, Replay
from mimgen.generators import MeissonicTransformer


def replay_transformer(case: Case) -> dict[str, Tensor]:
    """Logits [B, K, H, W] of the released class from token ids, text, time step and micro-conditions."""
    transformer = MeissonicTransformer(**case.config["transformer"]).eval()
    transformer.load_state_dict(case.weights)
    given = case.inputs
    with torch.no_grad():
        logits = transformer(
            given["input_ids"],
            given["encoder_hidden_states"],
            given["pooled_projections"],
            given["timestep"],
            given["micro_conds"],
            image_ids=given["img_ids"],
        )
    return {"logits": logits.transpose(1, 2).unflatten(2, tuple(given["input_ids"].shape[1:]))}


REPLAYS: dict[str, Replay] = {"meissonic_transformer": replay_transformer}
