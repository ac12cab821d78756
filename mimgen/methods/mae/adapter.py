"""Official MAE checkpoints (facebookresearch/mae): encoder alone, with decoder, or fine-tuned.

The folder that is written is one of a `VitEncoder`; where the release has the decoder, too, it lies in the
subfolder `decoder`, so that pretraining or filling in can continue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.checkpoints.release import StateDictAdapter
from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import VitEncoder

# width -> attention heads of the released sizes: base, large, huge
HEADS = {768: 12, 1024: 16, 1280: 16}
DECODER_HEADS = {512: 16}
_HEAD = 64  # channels of a head elsewhere


def rename(key: str) -> str:
    """Our name of an official tensor."""
    if key.startswith("decoder_"):
        return f"decoder.{key.removeprefix('decoder_')}"
    return f"decoder.{key}" if key == "mask_token" else f"encoder.{key}"


def heads_of(width: int) -> int:
    """Attention heads of the released encoder of this width; elsewhere one for 64 channels."""
    return HEADS.get(width, max(1, width // _HEAD))


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `kind`: those of the encoder and, under "decoder", those of the decoder.

    Args:
        config: the official constructor arguments or those of a run, maybe empty; only numbers of heads are
            taken from it, and only where it has them. The rest follows from the tensors.
        tensors: the official weights.
    """
    side = round((tensors["pos_embed"].shape[1] - 1) ** 0.5)
    width, channels, patch = tensors["patch_embed.proj.weight"].shape[:3]
    found = {
        "image_size": side * patch,
        "patch": patch,
        "width": width,
        "depth": _depth(tensors, "blocks."),
        "heads": int(config.get("num_heads") or heads_of(width)),
        "mlp_ratio": len(tensors["blocks.0.mlp.fc1.weight"]) / width,
        "qkv_bias": "blocks.0.attn.qkv.bias" in tensors,
        "pool": "mean" if "fc_norm.weight" in tensors else "class",
        "classes": len(tensors["head.weight"]) if "head.weight" in tensors else 0,
        "channels": channels,
    }
    if "decoder_embed.weight" not in tensors:
        return found
    inner = len(tensors["decoder_embed.weight"])
    heads = config.get("decoder_num_heads") or DECODER_HEADS.get(inner, max(1, inner // (_HEAD // 2)))
    decoder = {
        "image_size": side * patch,
        "patch": patch,
        "encoder_width": width,
        "width": inner,
        "depth": _depth(tensors, "decoder_blocks."),
        "heads": int(heads),
        "output": len(tensors["decoder_pred.weight"]),
        "mlp_ratio": len(tensors["decoder_blocks.0.mlp.fc1.weight"]) / inner,
    }
    return {**found, "decoder": decoder}


def _depth(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max(int(key.removeprefix(prefix).split(".")[0]) for key in tensors if key.startswith(prefix))


def kind(decoder: Mapping[str, Any] | None = None, **options: Any) -> OfficialModel:
    """The parts that these arguments are of."""
    return OfficialModel(VitEncoder(**options), None if decoder is None else MaeDecoder(**decoder))


ADAPTER = StateDictAdapter(
    "mae",
    "masked autoencoders, pretrained or fine-tuned (He et al., 2022; github.com/facebookresearch/mae)",
    kind,
    arguments,
    rename,
)
