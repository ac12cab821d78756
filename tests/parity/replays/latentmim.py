"""Replay of LatentMIM: patches without gaps, the copy's update, latents, loss and gradients of one step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.errors import UserError
from mimgen.methods.latentmim.adapter import ADAPTER, arguments
from mimgen.methods.latentmim.gaps import without_gaps
from mimgen.methods.latentmim.networks import LatentDecoder, LatentVit
from mimgen.methods.latentmim.objective import LatentMIM
from mimgen.methods.moving_average import Momentum
from mimgen.pretrained import load_strictly
from mimgen.types import Mask
from tests.parity.cases import Case, Replay
from tests.parity.helpers import eps_of, in_order, official_gradients, plain

COPY = "target_encoder."
LOSSES = {"infonce_patches": "contrast", "norm_l2": "squared"}
# of the official constructor, where the tensors do not predict
DEFAULTS = {"num_heads": 12, "decoder_num_heads": 16, "tau": 0.2, "num_vis": 20, "mask_target": True}


def _objective(case: Case, config: Mapping[str, Any], momentum: float) -> tuple[LatentMIM, OfficialModel]:
    """The objective with the case's weights, the slow copy's too."""
    if config.get("loss", "infonce_patches") not in LOSSES:
        raise UserError(f"loss {config['loss']!r} is unknown: we have {', '.join(LOSSES)}")
    eps = eps_of(config.get("norm_layer", ""))
    encoder_arguments = arguments(config, case.weights)
    decoder_arguments = encoder_arguments.pop("decoder")
    encoder = LatentVit(**{**encoder_arguments, **plain()}, eps=eps)
    decoder = LatentDecoder(**decoder_arguments, eps=eps)
    model = OfficialModel(encoder, decoder=decoder)
    objective = LatentMIM(
        encoder,
        decoder,
        lambda grid, rng: None,  # type: ignore[arg-type, return-value]
        Momentum(end=momentum),
        gap=config.get("patch_gap", 4 if "offset_rows" in case.inputs else 0),
        loss=LOSSES[config.get("loss", "infonce_patches")],  # type: ignore[arg-type]
        temperature=config["tau"],
        similarity_weight=config.get("avg_sim_coeff", 0.0),
        full_view=not config["mask_target"],
    )
    load_strictly(model, ADAPTER.from_official(case.weights), "the case")
    copies = {key.replace(COPY, "encoder."): value for key, value in case.weights.items() if key.startswith(COPY)}
    copied = {key.removeprefix("encoder."): value for key, value in ADAPTER.from_official(copies).items()}
    load_strictly(objective.target_encoder, copied, "the case")
    for part in (encoder, decoder):
        part.pos_embed.requires_grad_(not config.get("freeze_pe", True))
    return objective.train(), model


def _update(objective: LatentMIM, frozen: bool) -> None:
    """Let the copy follow; official position tables that are frozen are no parameters and stay."""
    assert objective.teacher is not None, "a momentum makes one"
    table = objective.target_encoder.pos_embed
    before = table.detach().clone()
    objective.teacher.update(objective.encoder, 1)
    if frozen:
        table.data.copy_(before)


def replay_latentmim(case: Case) -> dict[str, Tensor]:
    """Patches, the copy after its update, latents, similarities, loss and gradients."""
    config, call = {**DEFAULTS, **case.config}, json.loads(case.metadata.get("call_arguments", "{}"))
    objective, model = _objective(case, config, float(call.get("mom", 0.99)))
    if call.get("update_ema", True):
        _update(objective, bool(config.get("freeze_pe", True)))
    images, patch, gap = case.inputs["imgs"], objective.encoder.patch, objective.gap
    if gap:
        offsets = torch.stack([case.inputs["offset_rows"], case.inputs["offset_cols"]], dim=1)
        images = without_gaps(images, offsets, patch, gap)
    order = case.inputs["noise"].argsort(dim=1)
    visible = order[:, : config["num_vis"]]
    mask = Mask(torch.ones_like(order, dtype=torch.bool).scatter(1, visible, False))
    losses = objective.losses(images, mask, float(call.get("sim_trg", 0.75)))
    tokens = objective.encoder.latents(images, mask)
    requested, rest = Mask(~mask.masked), order[:, visible.shape[1] :]
    nothing = tokens.prefix[:, :0]
    predicted = in_order(nothing, objective.decoder(tokens, mask), requested, rest)
    numbers = F.pixel_unshuffle(images, patch).flatten(2).transpose(1, 2).unflatten(2, (3, -1))
    outputs = {
        "patches": numbers.transpose(2, 3).flatten(2)[:, :4],
        "x_vis": in_order(tokens.prefix, tokens.patches, mask, visible),
        "x_trg": in_order(nothing, objective.targets(images, mask), requested, rest),
        "x_pred": predicted,
        "avg_sim_pred": losses.metrics["similarity_predicted"],
        "avg_sim_vis": losses.metrics["similarity_visible"],
        "avg_sim_trg": losses.metrics["similarity_target"],
        "loss": losses.total,
        **_copied(objective, case),
        **official_gradients(losses.total, model, case, ADAPTER.our_key),
    }
    # our position tables have a batch dimension
    return {name: (value[0] if "pos_embeds" in name else value).detach() for name, value in outputs.items()}


def _copied(objective: LatentMIM, case: Case) -> dict[str, Tensor]:
    """The recorded weights of the copy after its update."""
    own = objective.target_encoder.state_dict()
    names = [name for name in case.outputs if name.startswith("target_after/")]
    ours = {name: str(ADAPTER.our_key(name.replace("target_after/", "encoder."))) for name in names}
    return {name: own[key.removeprefix("encoder.")] for name, key in ours.items()}


REPLAYS: dict[str, Replay] = {"latentmim": replay_latentmim}
