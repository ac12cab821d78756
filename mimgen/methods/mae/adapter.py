"""Official MAE checkpoints (facebookresearch/mae): encoder alone, with decoder, or fine-tuned.

The folder that is written is one of a `VitEncoder`; where the release has the decoder, too, it lies in the
subfolder `decoder`, so that pretraining or filling in can continue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap
from mimgen.checkpoints.sizes import grid_side, heads_of, numbered
from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import VitEncoder

# width -> attention heads of the released sizes: base, large, huge
HEADS = {768: 12, 1024: 16, 1280: 16}
DECODER_HEADS = {512: 16}
DECODER_HEAD = 32  # channels of a head in the released decoders

NAMES = (("mask_token", "decoder.mask_token"), ("decoder_*", "decoder.*"), ("*", "encoder.*"))
KEYS = KeyMap(*NAMES)


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the encoder and, under "decoder", those of the decoder.

    Args:
        config: the official constructor arguments or those of a run, maybe empty; only numbers of heads are
            taken from it, and only where it has them. The rest follows from the tensors.
        tensors: the official weights.
    """
    found = encoder_arguments(config, tensors)
    if "decoder_embed.weight" not in tensors:
        return found
    return {**found, "decoder": decoder_arguments(config, tensors, found)}


def encoder_arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `VitEncoder` from tensors with timm's names."""
    width, channels, patch = tensors["patch_embed.proj.weight"].shape[:3]
    return {
        "image_size": grid_side(tensors["pos_embed"].shape[1] - 1) * patch,
        "patch": patch,
        "width": width,
        "depth": numbered(tensors, "blocks."),
        "heads": heads_of(width, config.get("num_heads"), HEADS),
        "mlp_ratio": len(tensors["blocks.0.mlp.fc1.weight"]) / width,
        "qkv_bias": "blocks.0.attn.qkv.bias" in tensors,
        "pool": "mean" if "fc_norm.weight" in tensors else "class",
        "classes": len(tensors["head.weight"]) if "head.weight" in tensors else 0,
        "channels": channels,
    }


def decoder_arguments(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], encoder: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments of `MaeDecoder`, or of one of its family, on an encoder with these arguments."""
    output, width = tensors["decoder_pred.weight"].shape
    return {
        "image_size": encoder["image_size"],
        "patch": encoder["patch"],
        "encoder_width": encoder["width"],
        "width": width,
        "depth": numbered(tensors, "decoder_blocks."),
        "heads": heads_of(width, config.get("decoder_num_heads"), DECODER_HEADS, DECODER_HEAD),
        "output": output,
        "mlp_ratio": len(tensors["decoder_blocks.0.mlp.fc1.weight"]) / width,
    }


ADAPTER = StateDictAdapter(
    name="mae",
    about="masked autoencoders, pretrained or fine-tuned (He et al., 2022; github.com/facebookresearch/mae)",
    kind=VitEncoder,
    parts={"decoder": MaeDecoder},
    arguments=arguments,
    keys=KEYS,
)
