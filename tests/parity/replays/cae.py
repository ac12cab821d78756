"""Replays of CAE."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mimgen.methods.cae.adapter import ADAPTER
from mimgen.methods.cae.networks import CaeDecoder, CaeEncoder
from mimgen.methods.cae.objective import CAE
from mimgen.methods.moving_average import Momentum
from mimgen.types import Batch, Mask
from tests.parity.cases import Case, Replay
from tests.parity.helpers import RecordedCodes, eps_of, load_official, official_gradients


def _scale(initial: float | None, weights: Mapping[str, Tensor], gamma: str) -> float | None:
    """Start of a layer scale that the case has, whose weights replace it; None where it has none."""
    return (initial or 1.0) if gamma in weights else None


def _encoder(case: Case) -> CaeEncoder:
    config = case.config
    side = config.get("img_size", 224)
    return CaeEncoder(
        side if isinstance(side, int) else tuple(side),
        config.get("patch_size", 16),
        config.get("embed_dim", 768),
        config.get("depth", 12),
        config.get("num_heads", 12),
        config.get("mlp_ratio", 4.0),
        _scale(config.get("init_values"), case.weights, "encoder.blocks.0.gamma_1"),
        config.get("qkv_bias", True),
        0.0,
        # recorded images are normalised already
        (0.0,) * 3,
        (1.0,) * 3,
        eps_of(config.get("norm_layer", "")),
    )


def _decoder(case: Case, encoder: CaeEncoder) -> CaeDecoder:
    config, options = case.config, case.config.get("args", {})
    gamma = "pretext_neck.regressor_blocks.0.gamma_1_cross"
    return CaeDecoder(
        options.get("decoder_num_classes", config.get("vocab_size", 8192)),
        encoder.dim,
        options.get("decoder_embed_dim", 768),
        options.get("regressor_depth", 4),
        options.get("decoder_depth", 4),
        options.get("decoder_num_heads", 12),
        config.get("mlp_ratio", 4.0),
        _scale(options.get("decoder_layer_scale_init_value", 0.1), case.weights, gamma),
        config.get("qkv_bias", True),
        eps_of(config.get("norm_layer", "")),
    )


def _objective(case: Case) -> CAE:
    """The objective of a case, its weights loaded strictly."""
    encoder = _encoder(case)
    decoder = _decoder(case, encoder)
    momentum = float(case.config.get("args", {}).get("base_momentum", 0.0))
    objective = CAE(
        encoder,
        decoder,
        RecordedCodes(case.inputs["input_ids"].flatten(1), decoder.dim, encoder.patch),
        align_weight=float(case.metadata.get("align_loss_weight", 2.0)),
        momentum=Momentum(momentum, momentum),
    ).train()
    load_official(objective, case.weights, _position)
    return objective


def _position(key: str) -> str:
    """Our name, within the objective, of an official tensor."""
    if key.startswith("teacher."):
        return key.replace("teacher.", "teacher.module.", 1)
    return str(ADAPTER.our_key(key))


def replay_cae(case: Case) -> dict[str, Tensor]:
    """Tokens, latents, logits, losses, gradients, and the teacher after its update."""
    objective, images = _objective(case), case.inputs["samples"]
    mask = Mask(case.inputs["bool_masked_pos"].flatten(1).bool())
    tokens = objective.encoder(images, mask)
    made = objective.decoder(tokens, mask)
    losses = objective(Batch(images), mask)
    outputs = {
        "encoder_out": torch.cat([tokens.prefix, tokens.patches], dim=1),
        "latent_pred": made.latents,
        "latent_target": objective.latents(images, mask),
        "logits": made.predicted.flatten(0, 1),
        "loss_main": losses.terms["target"],
        "loss_align": objective.weights["align"] * losses.terms["align"][None],
        "loss": losses.total,
        **official_gradients(losses.total, objective, case, _position),
    }
    # in the official order: the teacher follows between the targets and the optimiser's step
    objective.after_step(1)
    after = objective.teacher.module.state_dict()
    outputs |= {f"teacher_after/{name}": value for name, value in after.items()}
    return outputs


REPLAYS: dict[str, Replay] = {"cae": replay_cae}
