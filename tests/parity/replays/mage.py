"""Replays of MAGE: one step of training, and unconditional generation by `mimgen.sampling.unmask`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimgen.generators.mage.adapter import ADAPTER, arguments
from mimgen.generators.mage.masking import TwoLevel
from mimgen.generators.mage.model import MageTransformer
from mimgen.generators.mage.objective import MAGE
from mimgen.masking.corruption import with_mask_token
from mimgen.pretrained import load_strictly
from mimgen.sampling.sampler import unmask
from mimgen.sampling.schedules import Cosine
from mimgen.sampling.temperatures import Falling
from tests.parity.cases import Case, Replay
from tests.parity.helpers import official_gradients
from tests.parity.recorded import FixedRNG


def model_of(case: Case) -> MageTransformer:
    """The transformer of a case, without dropout."""
    usual = {"num_heads": 16, "decoder_num_heads": 16}  # of the official constructor
    model = MageTransformer(**{**arguments({**usual, **case.config["model"]}, case.weights), "dropout": 0.0})
    load_strictly(model, ADAPTER.from_official(case.weights), "the case")
    return model


def replay_train(case: Case) -> dict[str, Tensor]:
    """Masks, encoder output, logits, loss and gradients of one step."""
    model, tokens = model_of(case).train(), case.inputs["tokens"]
    masking = TwoLevel(minimum=case.config["model"].get("mask_ratio_min", 0.5))
    masked, dropped = masking.split(case.inputs["mask_noise"], case.inputs["mask_rate"])
    objective = MAGE(model, nn.Identity(), masking=masking)
    loss = objective.losses(tokens, masked, dropped).total
    latent = model.encode(with_mask_token(tokens, masked, model.mask_id), dropped.keep)[-1]
    states = model.decode(latent, masked.masked, dropped.keep, slot=True)
    return {
        "all_mask": _with_slot(masked.masked),
        "drop_mask": _with_slot(dropped.masked),
        "latent": latent,
        "logits_codebook": model.head(states),
        "loss": loss,
        **official_gradients(loss, model, case, str),
    }


def _with_slot(masked: Tensor) -> Tensor:
    """A set of tokens [B, N] as numbers [B, 1 + N], 0 for the class slot."""
    return nn.functional.pad(masked.float(), (1, 0))


def replay_sample(case: Case) -> dict[str, Tensor]:
    """The tokens of generation, and which are masked again after each step."""
    model, call = model_of(case).eval(), case.config["call"]
    uniform = case.inputs["categorical_uniform"]
    steps, rows, count = uniform.shape
    sampled = unmask(
        lambda tokens, positions, step, guided: model(tokens, positions=positions),
        torch.full((rows, count), model.mask_id),
        mask_id=model.mask_id,
        steps=steps,
        rng=FixedRNG(uniform, case.inputs["gumbel_uniform"]),
        grid=(model.side, model.side),
        schedule=Cosine(precise=True),
        choice_temperature=Falling(call.get("choice_temperature", 4.5)),
    )
    masked = [sampled.unmasked_at > step for step in range(steps)]
    # behind the last step, too, the official loop masks the least likely of the tokens that came last
    late = sampled.log_probs.masked_fill(sampled.unmasked_at < steps - 1, float("inf"))
    masked[-1] = late == late.min(1, keepdim=True).values
    return {"final_tokens": sampled.tokens, "masked_after_step": torch.stack(masked)}


REPLAYS: dict[str, Replay] = {"mage_sample": replay_sample, "mage_train": replay_train}
