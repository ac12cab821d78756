"""Replays of SimMIM in MMPretrain's port, whose names are turned into ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.decoders.mae import LinearDecoder
from mimgen.encoders.swin import SwinEncoder
from mimgen.methods.mim import MIM
from mimgen.pretrained import load_strictly
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Mask
from tests.parity.cases import Case, Replay
from tests.parity.helpers import feature_map, official_gradients

_PLACES = (
    (r"^neck\.decoder\.0\.", "decoder.decoder."),
    (r"^backbone\.", "encoder."),
    (r"^(encoder\.)patch_embed\.projection\.", r"\1patch_embed.proj."),
    (r"^(encoder\.)patch_embed\.norm\.", r"\1patch_norm."),
    (r"^(encoder\.)norm\d+\.", r"\1norm."),
    (r"^(encoder\.)stages\.", r"\1layers."),
    (r"\.attn\.w_msa\.", ".attn."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
)


def rename(key: str) -> str:
    """Our name, within `MIM`, of a tensor of MMPretrain's SimMIM."""
    for old, new in _PLACES:
        key = re.sub(old, new, key)
    return key


def swin_arguments(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `SwinEncoder` from those of the recorded backbone; widths of MLPs follow from the weights."""
    arch = config["arch"]
    hidden = weights["backbone.stages.0.blocks.0.ffn.layers.0.0.weight"]
    channels = weights["backbone.patch_embed.projection.weight"].shape[1]
    return {
        "embed_patch": config.get("patch_size", 4),
        "width": arch["embed_dims"],
        "depths": tuple(arch["depths"]),
        "heads": tuple(arch["num_heads"]),
        "window": config.get("window_size", 7),
        "mlp_ratio": len(hidden) / hidden.shape[1],
        "qkv_bias": "backbone.stages.0.blocks.0.attn.w_msa.qkv.bias" in weights,
        "channels": channels,
        "mean": (0.0,) * channels,
        "std": (1.0,) * channels,
    }


def replay_simmim(case: Case) -> dict[str, Tensor]:
    """Last tokens, reconstruction, loss and gradients of one step."""
    images, config = case.inputs["imgs"], case.config
    encoder = SwinEncoder(**swin_arguments(config, case.weights))
    patch = encoder.patch_embed.patch
    decoder = LinearDecoder(encoder.dim, config.get("encoder_stride", 32), patch)
    target = PixelTarget(patch, normalise=False, distance="absolute")
    mask = Mask(case.inputs["mask"].flatten(1).bool())
    objective = MIM(encoder, decoder, target, lambda grid, rng: mask).train()
    # the index of offsets is computed, not learned; we keep it out of checkpoints
    named = {rename(key): value for key, value in case.weights.items() if not key.endswith("relative_position_index")}
    load_strictly(objective, named, "the case")
    tokens = encoder(images, mask)
    loss = objective(Batch(images), mask).total
    return {
        "latent": feature_map(tokens.patches, tokens.grid),
        "rec": decoder.images(tokens),
        "loss": loss,
        **official_gradients(loss, objective, case, rename),
    }


REPLAYS: dict[str, Replay] = {"simmim": replay_simmim}
