"""Replays of TiTok's generators: bytedance/1d-tokenizer `modeling/maskgit.py` and `modules/losses.py`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from mimgen.generators.class_sampling import sample_classes
from mimgen.generators.class_tokens import ClassTokens
from mimgen.generators.titok_maskgit.adapter import arguments
from mimgen.generators.titok_maskgit.model import TiTokMaskGit, released_sampling
from mimgen.types import Mask
from tests.parity.cases import Case, Replay
from tests.parity.helpers import gradients, load_official, released_mask
from tests.parity.recorded import FixedRNG

MINIMUM = 1e-6  # of the masking rate


def _generator(case: Case) -> TiTokMaskGit:
    generator = TiTokMaskGit(**arguments(case.config["model"], case.weights))
    load_official(generator, case.weights)
    return generator


def replay_train(case: Case) -> dict[str, Tensor]:
    """Mask, logits, loss and gradients of one step, by the objective that trains."""
    generator, recorded, config = _generator(case).train(), case.inputs, case.config
    losses: dict[str, float] = config.get("losses", {})
    objective = ClassTokens(
        generator,
        nn.Identity(),
        label_smoothing=losses.get("label_smoothing", 0.1),
        visible_weight=losses.get("loss_weight_unmasked_token", 0.1),
    )
    rates = (torch.arccos(recorded["time_uniform"]) / (math.pi / 2)).clamp(MINIMUM, 1.0)
    masked = released_mask(recorded["mask_uniform"], rates)
    drop = recorded["drop_uniform"] < config.get("cond_drop_prob", 0.1)
    heard: list[Tensor] = []
    handle = generator.register_forward_hook(lambda module, inputs, output: heard.append(output))
    loss = objective.losses(recorded["tokens"], recorded["condition"], Mask(masked), drop).total
    handle.remove()
    outputs = {"mask": masked, "logits": heard[0], "loss": loss}
    outputs |= gradients(loss, generator, config.get("grads", []))
    return outputs


def replay_sample(case: Case) -> dict[str, Tensor]:
    """Tokens before every step and at the end, logits of the very first and the very last pass."""
    generator, labels = _generator(case).eval(), case.inputs["condition"]
    requested: dict[str, Any] = case.config.get("call", {})
    steps, decay = int(requested.get("num_sample_steps", 8)), requested.get("guidance_decay", "constant")
    options = released_sampling(
        steps,
        guidance_scale=requested.get("guidance_scale", 3.0),
        decay=decay,
        power=requested.get("guidance_scale_pow", 3.0),
        temperature=requested.get("randomize_temperature", 4.5),
        annealed=requested.get("softmax_temperature_annealing", False),
        gumbel_codes=generator.codebook_size,
    )
    choice = case.inputs["confidence_uniform"]
    rng = FixedRNG(torch.zeros_like(choice), choice, case.inputs["token_uniform"])
    seen = [torch.full((len(labels), generator.length), generator.mask_id)]
    result = sample_classes(
        generator,
        labels,
        rng,
        (1, generator.length),
        on_step=lambda step, tokens: seen.append(tokens),
        **options,
    )
    # the pass without class comes second; "power-cosine" makes it even where its weight is nothing
    guided = decay == "power-cosine" or options["guidance"].weight(steps - 1, steps) != 1
    with torch.no_grad():
        first = generator(seen[0], labels)
        last = generator(seen[steps - 1], torch.full_like(labels, generator.dropped) if guided else labels)
    before = torch.stack(seen[:-1])
    return {"tokens": result.tokens, "tokens_before_step": before, "logits_first": first, "logits_last": last}


REPLAYS: dict[str, Replay] = {
    "titok_maskgit_sample": replay_sample,
    "titok_maskgit_train": replay_train,
}
