"""Official iTPN checkpoints of the pixel variant (sunsmarterjie/iTPN): backbone, neck and decoder, or fine-tuned.

The folder that is written is one of a `HiVitEncoder`; where the release has the decoder, too, it lies in the
subfolder `decoder`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap
from mimgen.checkpoints.sizes import grid_side, heads_of, numbered
from mimgen.decoders.pyramid import PyramidDecoder
from mimgen.encoders.hivit import HiVitEncoder

_DECODER_HEAD = 32  # channels of a head of the released decoders

# pairs of official names and ours of backbone and neck
ENCODER = (
    ("absolute_pos_embed", "encoder.pos_embed"),
    ("align_dim_16tofpn.*", "encoder.neck.top.*"),
    ("align_dim_16to8.*", "encoder.neck.laterals.0.*"),
    ("align_dim_8to4.*", "encoder.neck.laterals.1.*"),
    ("split_16to8.*", "encoder.neck.splits.0.*"),
    ("split_8to4.*", "encoder.neck.splits.1.*"),
    ("block_16to8.*", "encoder.neck.mixers.0.*"),
    ("block_8to4.*", "encoder.neck.mixers.1.*"),
    ("fpn_modules.*", "encoder.neck.outputs.*"),
    ("*", "encoder.*"),
)
COMPUTED = {"relative_position_index": "computed from the grid"}
KEYS = KeyMap(("mask_token", "decoder.mask_token"), ("decoder_*", "decoder.*"), *ENCODER)


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
    side, patch = grid_side(patches), 4 * unit
    merges = (re.fullmatch(r"blocks\.(\d+)\.reduction\.weight", key) for key in tensors)
    first, second = sorted(int(found[1]) for found in merges if found)
    stem, last = second + 1, numbered(tensors, "blocks.")
    attention = tensors[f"blocks.{stem}.attn.qkv.weight"]
    neck = "fpn_modules.0.norm2.weight" in tensors
    return {
        "image_size": side * patch,
        "patch": patch,
        "width": width,
        "mlp_depths": (first, second - first - 1),
        "depth": last - stem,
        "heads": heads_of(attention.shape[1], config.get("num_heads")),
        "bridge_ratio": len(tensors["blocks.0.mlp.fc1.weight"]) / quarter if first else 3.0,
        "mlp_ratio": len(tensors[f"blocks.{stem}.mlp.fc1.weight"]) / width,
        "qkv_bias": f"blocks.{stem}.attn.qkv.bias" in tensors,
        "relative": f"blocks.{stem}.attn.relative_position_bias_table" in tensors,
        "layer_scale": 0.1 if f"blocks.{stem}.gamma_1" in tensors else None,
        "neck_width": len(tensors["fpn_modules.0.norm2.weight"]) if neck else 0,
        "neck_depth": numbered(tensors, "block_16to8."),
        "levels": len([key for key in tensors if re.fullmatch(r"fpn_modules\.\d+\.norm2\.weight", key)]) or 3,
        "classes": len(tensors["head.weight"]) if "head.weight" in tensors else 0,
        "channels": channels,
    }


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the encoder and, under "decoder", those of the decoder of pixels."""
    found = encoder_arguments(config, tensors)
    if "decoder_pred.weight" not in tensors:
        return found
    output, width = tensors["decoder_pred.weight"].shape
    decoder = {
        "image_size": found["image_size"],
        "patch": found["patch"],
        "pyramid_width": len(tensors["decoder_embed.0.0.weight"]),
        "width": width,
        "depth": numbered(tensors, "decoder_blocks."),
        "heads": heads_of(width, config.get("decoder_num_heads"), head=_DECODER_HEAD),
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


ADAPTER = StateDictAdapter(
    name="itpn",
    about="HiViT with its pyramid, pretrained on pixels or fine-tuned (iTPN, 2023; github.com/sunsmarterjie/iTPN)",
    kind=HiVitEncoder,
    parts={"decoder": PyramidDecoder},
    arguments=arguments,
    keys=KEYS,
    ignored=COMPUTED,
)
