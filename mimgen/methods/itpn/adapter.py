"""Official iTPN checkpoints of the pixel variant (sunsmarterjie/iTPN): backbone, neck and decoder, or fine-tuned.

The folder that is written is one of a `HiVitEncoder`; where the release has the decoder, too, it lies in the
subfolder `decoder`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.checkpoints.release import StateDictAdapter
from mimgen.decoders.pyramid import PyramidDecoder
from mimgen.encoders.hivit import HiVitEncoder

_HEAD = 64  # channels of a head in all released sizes
_DECODER_HEAD = 32

_ENCODER = (
    (r"^absolute_pos_embed$", "pos_embed"),
    (r"^align_dim_16tofpn\.", "neck.top."),
    (r"^align_dim_16to8\.", "neck.laterals.0."),
    (r"^align_dim_8to4\.", "neck.laterals.1."),
    (r"^split_16to8\.", "neck.splits.0."),
    (r"^split_8to4\.", "neck.splits.1."),
    (r"^block_16to8\.", "neck.mixers.0."),
    (r"^block_8to4\.", "neck.mixers.1."),
    (r"^fpn_modules\.", "neck.outputs."),
)


def of_encoder(key: str) -> str | None:
    """Our name of an official tensor of backbone and neck; None for what we compute."""
    if key == "relative_position_index":
        return None
    for old, new in _ENCODER:
        key = re.sub(old, new, key)
    return f"encoder.{key}"


def rename(key: str) -> str | None:
    """Our name, within `OfficialModel`, of a tensor of the pixel variant."""
    if key.startswith("decoder_"):
        return f"decoder.{key.removeprefix('decoder_')}"
    return f"decoder.{key}" if key == "mask_token" else of_encoder(key)


def encoder_arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `HiVitEncoder` from the shapes of the official tensors.

    Args:
        config: the official constructor arguments, maybe empty; only `num_heads` is taken, where it is there.
        tensors: the official weights.
    """
    (quarter, channels, unit), (_, patches, width) = (
        tensors["patch_embed.proj.weight"].shape[:3],
        tensors["absolute_pos_embed"].shape,
    )
    side, patch = round(patches**0.5), 4 * unit
    merges = [_number(key) for key in tensors if re.fullmatch(r"blocks\.\d+\.reduction\.weight", key)]
    first, second = sorted(merges)
    stem, last = second + 1, 1 + max(_number(key) for key in tensors if key.startswith("blocks."))
    attention = tensors[f"blocks.{stem}.attn.qkv.weight"]
    neck = "fpn_modules.0.norm2.weight" in tensors
    depths = [_number(key) for key in tensors if key.startswith("block_16to8.")]
    return {
        "image_size": side * patch,
        "patch": patch,
        "width": width,
        "mlp_depths": (first, second - first - 1),
        "depth": last - stem,
        "heads": int(config.get("num_heads") or max(1, attention.shape[1] // _HEAD)),
        "bridge_ratio": len(tensors["blocks.0.mlp.fc1.weight"]) / quarter if first else 3.0,
        "mlp_ratio": len(tensors[f"blocks.{stem}.mlp.fc1.weight"]) / width,
        "qkv_bias": f"blocks.{stem}.attn.qkv.bias" in tensors,
        "relative": f"blocks.{stem}.attn.relative_position_bias_table" in tensors,
        "layer_scale": 0.1 if f"blocks.{stem}.gamma_1" in tensors else None,
        "neck_width": len(tensors["fpn_modules.0.norm2.weight"]) if neck else 0,
        "neck_depth": 1 + max(depths) if depths else 0,
        "levels": len([key for key in tensors if re.fullmatch(r"fpn_modules\.\d+\.norm2\.weight", key)]) or 3,
        "classes": len(tensors["head.weight"]) if "head.weight" in tensors else 0,
        "channels": channels,
    }


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `kind`: those of the encoder and, under "decoder", those of the decoder of pixels."""
    found = encoder_arguments(config, tensors)
    if "decoder_pred.weight" not in tensors:
        return found
    output, width = tensors["decoder_pred.weight"].shape
    blocks = [_number(key) for key in tensors if key.startswith("decoder_blocks.")]
    decoder = {
        "image_size": found["image_size"],
        "patch": found["patch"],
        "pyramid_width": len(tensors["decoder_embed.0.0.weight"]),
        "width": width,
        "depth": 1 + max(blocks),
        "heads": int(config.get("decoder_num_heads") or max(1, width // _DECODER_HEAD)),
        "levels": levels_of(tensors),
        "output": output,
        "mlp_ratio": len(tensors["decoder_blocks.0.mlp.fc1.weight"]) / width,
        "qkv_bias": "decoder_blocks.0.attn.qkv.bias" in tensors,
    }
    # the weights have learnt with positions as the release reads them when patches are left out
    return {**found, "stretched": True, "decoder": decoder}


def levels_of(tensors: Mapping[str, Tensor]) -> int:
    """Levels of the pyramid that the decoder reads."""
    return len([key for key in tensors if re.fullmatch(r"decoder_embed\.\d+\.0\.weight", key)])


def _number(key: str) -> int:
    return int(key.split(".")[1])


def kind(decoder: Mapping[str, Any] | None = None, **options: Any) -> OfficialModel:
    """The parts that these arguments are of."""
    return OfficialModel(HiVitEncoder(**options), None if decoder is None else PyramidDecoder(**decoder))


ADAPTER = StateDictAdapter(
    "itpn",
    "HiViT with its pyramid, pretrained on pixels or fine-tuned (iTPN, 2023; github.com/sunsmarterjie/iTPN)",
    kind,
    arguments,
    rename,
)
