"""Replays of viiika/Meissonic: `src/transformer.py`, `src/pipeline.py` and `train/train_meissonic.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mimgen.encoders import TextStates
from mimgen.generators import MeissonicTransformer, TextCondition
from mimgen.generators.meissonic.objective import MaskedTokens
from mimgen.generators.meissonic.predictor import RELEASED, TextPredictor, check_scheduler, sample_text
from mimgen.layers.rope import grid_ids
from mimgen.masking import with_mask_token
from mimgen.pretrained import load_strictly
from mimgen.sampling import Cosine, Guidance, Linear, Schedule
from mimgen.sampling.guidance import combine
from mimgen.tokenizers import DiffusersVQ
from mimgen.types import Mask
from tests.parity.cases import Case, Replay
from tests.parity.helpers import gradients, load_official, released_mask
from tests.parity.recorded import FixedRNG

OFFICIAL_TIMESTEP_SCALE = 1000.0  # factor on the rate in the released training
STEPS = 48  # default of the released pipeline
SCHEDULES: Mapping[str, Schedule] = {"cosine": Cosine(), "linear": Linear()}


def replay_transformer(case: Case) -> dict[str, Tensor]:
    """Logits [B, K, H, W] of the released class from token ids, text, time step and micro-conditions."""
    transformer = MeissonicTransformer(**case.config["transformer"]).eval()
    transformer.load_state_dict(case.weights)
    recorded = case.inputs
    with torch.no_grad():
        logits = transformer(
            recorded["input_ids"],
            recorded["encoder_hidden_states"],
            recorded["pooled_projections"],
            recorded["timestep"],
            recorded["micro_conds"],
            image_ids=recorded["img_ids"],
        )
    return {"logits": logits.transpose(1, 2).unflatten(2, tuple(recorded["input_ids"].shape[1:]))}


def replay_train(case: Case) -> dict[str, Tensor]:
    """Mask, logits, loss and gradients of one step, by the objective that trains."""
    transformer = MeissonicTransformer(**case.config["transformer"]).train()
    load_official(transformer, case.weights)
    recorded, minimum = case.inputs, case.config.get("min_masking_rate", 0.0)
    side = math.isqrt(recorded["image_tokens"].shape[1])
    tokens = recorded["image_tokens"].unflatten(1, (side, side))
    rates = torch.cos(recorded["time_uniform"] * math.pi * 0.5).clamp(min=minimum)
    mask = Mask(released_mask(recorded["mask_uniform"], rates))
    text = TextStates(recorded["encoder_hidden_states"], recorded["cond_embeds"])
    objective = MaskedTokens(
        transformer, nn.Identity(), nn.Identity(), timestep_scale=OFFICIAL_TIMESTEP_SCALE
    )
    loss = objective.losses(tokens, mask, rates, text, recorded["micro_conds"]).total
    shown = with_mask_token(recorded["image_tokens"], mask, transformer.mask_id).view_as(tokens)
    with torch.no_grad():
        logits = transformer(
            shown, text.states, text.pooled, OFFICIAL_TIMESTEP_SCALE * rates, recorded["micro_conds"]
        )
    outputs = {"mask_prob": rates, "mask": mask.masked, "logits": logits.flatten(0, 1), "loss": loss}
    outputs |= gradients(loss, transformer, case.config.get("grads", []))
    return outputs


def _predictor(case: Case) -> tuple[TextPredictor, DiffusersVQ]:
    """The generator with the captions of the case, and the tokenizer."""
    from diffusers import VQModel

    config, recorded, call = case.config, case.inputs, case.config["call"]
    transformer = MeissonicTransformer(**config["transformer"])
    load_strictly(transformer, _within(case.weights, "transformer."), "the case")
    vqvae = VQModel(**config["vqvae"])
    if weights := _within(case.weights, "vqvae."):  # cases that end with tokens have none
        load_strictly(vqvae, weights, "the case")
    tokenizer = DiffusersVQ(vqvae.eval())
    height, width = call["height"], call["width"]
    left, top = call.get("crop", RELEASED["crop"])
    condition = TextCondition(
        text=TextStates(recorded["encoder_hidden_states"], recorded["prompt_embeds"]),
        negative=TextStates(recorded["negative_encoder_hidden_states"], recorded["negative_prompt_embeds"]),
        sizes=(width, height, left, top, call.get("aesthetic", RELEASED["score"])),
        steps=call.get("num_inference_steps", STEPS),
        timestep_mode="steps",
    )
    grid = (height // tokenizer.downsample, width // tokenizer.downsample)
    return transformer.eval().predictor(condition, grid), tokenizer


def _within(weights: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {key.removeprefix(start): value for key, value in weights.items() if key.startswith(start)}


def replay_t2i(case: Case) -> dict[str, Tensor]:
    """The whole sampling loop from encoded captions, and the image."""
    (predict, tokenizer), call = _predictor(case), case.config["call"]
    mask_id, schedule = (
        predict.transformer.mask_id,
        case.config["scheduler"].get("masking_schedule", "cosine"),
    )
    check_scheduler(case.config["scheduler"], predict.transformer)
    # at 1 and below the released pipeline makes the conditional pass only
    scale, choice = max(1.0, float(call.get("guidance_scale", 9.0))), case.inputs["gumbel_uniform"]
    seen = [torch.full_like(choice[0], mask_id, dtype=torch.int64)]
    result = sample_text(
        predict,
        FixedRNG(case.inputs["categorical_uniform"].view_as(choice), choice),
        schedule=SCHEDULES[schedule],
        choice_temperature=call.get("temperature", RELEASED["choice_temperature"]),
        guidance=Guidance(scale),
        on_step=lambda step, tokens: seen.append(tokens),
    )
    everywhere = torch.arange(choice.shape[2]).expand_as(seen[0])
    maps = [tokens.unflatten(1, predict.grid) for tokens in (*seen[1:], result.tokens)]
    outputs = {
        **{f"tokens_{step}": tokens for step, tokens in enumerate(maps[:-1])},
        "final_tokens": maps[-1],
        "timesteps_given": torch.stack(
            [predict.progress(seen[0], step)[0] for step in range(predict.condition.steps)]
        ).long(),
        "micro_conds": predict.micro_conditions(len(seen[0]) * (2 if scale != 1 else 1)),
        "img_ids": grid_ids(*predict.transformer.trunk_grid(*predict.grid)).long(),
    }
    with torch.no_grad():
        for name in (name for name in case.outputs if name.startswith("guided_logits_")):
            step = int(name.rpartition("_")[2])
            answer = predict(seen[step], everywhere, step, scale != 1)
            logits = answer if isinstance(answer, Tensor) else combine(*answer, scale)
            outputs[name] = logits.transpose(1, 2).unflatten(2, predict.grid)
        if "image" in case.outputs:
            outputs["image"] = tokenizer.decode(maps[-1])
    return outputs


REPLAYS: dict[str, Replay] = {
    "meissonic_t2i": replay_t2i,
    "meissonic_train": replay_train,
    "meissonic_transformer": replay_transformer,
}
