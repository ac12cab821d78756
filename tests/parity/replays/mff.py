"""Replays of MFF in MMPretrain's port."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.sizes import heads_of
from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.mae.adapter import HEADS
from mimgen.methods.mff.adapter import ADAPTER
from mimgen.methods.mff.fusion import LayerFusion
from mimgen.methods.mff.objective import MFF
from mimgen.pretrained import load_strictly
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Mask
from tests.parity.cases import Case, Replay
from tests.parity.helpers import in_order, official_gradients, plain, recorded_mask

TAPS = (0, 2, 4, 6, 8, 11)
EPS = 1e-6


def _sizes(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the encoder; most follow from the weights, as the architecture may be given by name only."""
    width, _, patch = weights["backbone.patch_embed.projection.weight"].shape[:3]
    arch, side = config.get("arch"), config.get("img_size", 224)
    return {
        "image_size": side if isinstance(side, int) else tuple(side),
        "patch": patch,
        "width": width,
        "depth": _count(weights, "backbone.layers."),
        "heads": arch["num_heads"] if isinstance(arch, Mapping) else heads_of(width, None, HEADS),
        "mlp_ratio": len(weights["backbone.layers.0.ffn.layers.0.0.weight"]) / width,
        "qkv_bias": "backbone.layers.0.attn.qkv.bias" in weights,
        "eps": EPS,
        **plain(),
    }


def _count(weights: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max(int(key.removeprefix(prefix).split(".")[0]) for key in weights if key.startswith(prefix))


def objective_of(case: Case, mask: Mask) -> MFF:
    """The recorded network with the recorded weights."""
    config, sizes, options = case.config, _sizes(case.config, case.weights), case.config.get("decoder", {})
    inner = len(case.weights["neck.decoder_embed.weight"])
    decoder = MaeDecoder(
        sizes["image_size"],
        sizes["patch"],
        sizes["width"],
        inner,
        _count(case.weights, "neck.decoder_blocks."),
        options.get("decoder_num_heads", 16),
        mlp_ratio=len(case.weights["neck.decoder_blocks.0.ffn.layers.0.0.weight"]) / inner,
        eps=EPS,
    )
    taps = tuple(layer % sizes["depth"] for layer in config.get("out_indices", TAPS))
    target = PixelTarget(sizes["patch"], normalise=bool(config.get("norm_pix", False)), last=True)
    fusion = LayerFusion(sizes["width"], len(taps))
    objective = MFF(VitEncoder(**sizes), decoder, target, lambda grid, rng: mask, fusion, taps)
    named = ADAPTER.from_official(case.weights)
    load_strictly(objective, named, "the case")
    return objective.train()


def replay_mff(case: Case) -> dict[str, Tensor]:
    """Shares, fused tokens, prediction, mask, loss and gradients of one step."""
    images = case.inputs["imgs"]
    ratio = float(case.config.get("mask_ratio", case.metadata.get("mask_ratio", 0.75)))
    mask, order = recorded_mask(case.inputs["noise"], ratio)
    objective = objective_of(case, mask)
    tokens = objective.fused(images, mask)
    loss = objective(Batch(images), mask).total
    outputs = {
        "fusion_weights": objective.fusion.shares,
        "latent": in_order(tokens.prefix, tokens.patches, mask, order),
        "mask": mask.masked.float(),
        "pred": objective.decoder(tokens, mask),
        "loss": loss,
        **official_gradients(loss, objective, case, ADAPTER.our_key),
    }
    shares = "grad/backbone.proj_weights"
    if shares in outputs:
        outputs[shares] = outputs[shares].view_as(case.outputs[shares])
    return outputs


REPLAYS: dict[str, Replay] = {"mff": replay_mff}
