"""Replays of viiika/Meissonic `src/scheduler.py` and valeoai/Halton-MaskGIT `Sampler/halton_sampler.py`."""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.sampling.confidence import choice_temperatures, scheduler_step
from mimgen.sampling.orders import halton_cells
from mimgen.sampling.schedules import Cosine, Linear, Schedule
from tests.parity.cases import Case, Replay
from tests.parity.helpers import RELEASED_POINTS


def meissonic_scheduler(case: Case) -> dict[str, Tensor]:
    """Every step of the confidence re-masking from recorded uniform numbers."""
    config, inputs = case.config, case.inputs
    schedules: dict[str, Schedule] = {"cosine": Cosine(), "linear": Linear()}
    name = config.get("masking_schedule", "cosine")
    if name not in schedules:
        raise UserError(f"masking schedule {name!r}: known are {', '.join(schedules)}")
    steps = config["num_inference_steps"]
    temperatures = choice_temperatures(config.get("temperature", (2, 0)), steps)
    outputs = {"temperatures": temperatures, "timesteps": torch.arange(steps).flip(0)}
    tokens = inputs["initial_tokens"]
    for step in range(steps):
        result = scheduler_step(
            inputs["logits"][step],
            tokens,
            step=step,
            steps=steps,
            mask_id=config["mask_token_id"],
            schedule=schedules[name],
            temperature=temperatures[step],
            token_uniform=inputs["categorical_uniform"][step],
            choice_uniform=inputs["gumbel_uniform"][step],
            starting_mask_ratio=config.get("starting_mask_ratio", 1.0),
        )
        tokens = result.tokens
        outputs |= {f"tokens_{step}": result.tokens, f"pred_original_{step}": result.filled}
    return outputs


def halton_order(case: Case) -> dict[str, Tensor]:
    """(row, column) pairs in the order of revealing, for each recorded grid size."""
    outputs = {}
    for size in case.inputs["sizes"].tolist():
        cells = halton_cells((size, size), points=RELEASED_POINTS)
        outputs[f"order_{size}"] = torch.stack([cells // size, cells % size], dim=1)
    return outputs


REPLAYS: dict[str, Replay] = {
    "halton_order": halton_order,
    "meissonic_scheduler": meissonic_scheduler,
}
