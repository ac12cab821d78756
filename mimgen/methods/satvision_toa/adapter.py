"""Official SatVision-TOA checkpoints (nasa-nccs-hpda/pytorch-caney): Swin v2, alone or with its decoder.

The folder that is written is one of a `SwinV2Encoder` of scaled bands (`mimgen.data.MODIS_TOA`); where the
release has the decoder, too, it lies in the subfolder `decoder`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap
from mimgen.decoders.mae import LinearDecoder
from mimgen.encoders.swin_v2 import SwinV2Encoder

COMPUTED = ("*relative_coords_table", "*relative_position_index", "*attn_mask")
KEYS = KeyMap(("decoder.0.*", "decoder.decoder.*"), ("encoder.patch_embed.norm.*", "encoder.patch_norm.*"))


def swin_arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `SwinV2Encoder` from the official weights, their names as they are recorded.

    Args:
        config: the official constructor arguments, maybe empty; those that weights do not predict are taken from it.
        tensors: the official weights.
    """
    width, channels, patch = tensors["encoder.patch_embed.proj.weight"].shape[:3]
    scales = {key: len(value) for key, value in tensors.items() if key.endswith("attn.logit_scale")}
    positions = [tuple(map(int, re.findall(r"\d+", key))) for key in scales]
    depths = tuple(sum(stage == at for at, _ in positions) for stage in range(1 + max(stage for stage, _ in positions)))
    starts = [sum(depths[:stage]) for stage in range(len(depths))]
    extra = [re.findall(r"\d+", key)[:2] for key in tensors if key.endswith("norm3.weight")]
    windows = [_window(tensors, stage) for stage in range(len(depths))]
    return {
        "image_size": _image_size(config, tensors, patch, windows[0]),
        "embed_patch": patch,
        "width": width,
        "depths": depths,
        "heads": tuple(scales[f"encoder.layers.{stage}.blocks.0.attn.logit_scale"] for stage in range(len(depths))),
        "window": max(windows),
        "mlp_ratio": len(tensors["encoder.layers.0.blocks.0.mlp.fc1.weight"]) / width,
        "qkv_bias": "encoder.layers.0.blocks.0.attn.q_bias" in tensors,
        "drop_path": float(config.get("drop_path_rate", 0.0)),
        "extra_norms": tuple(sorted(starts[int(stage)] + int(block) for stage, block in extra)),
        "positions": "encoder.absolute_pos_embed" in tensors,
        "patch_norm": "encoder.patch_embed.norm.weight" in tensors,
        "pretrained_windows": tuple(config.get("pretrained_window_sizes", ())),
        "channels": channels,
        "mean": (0.0,) * channels,
        "std": (1.0,) * channels,
    }


def _window(tensors: Mapping[str, Tensor], stage: int) -> int:
    """Side of the windows of a stage."""
    return (tensors[f"encoder.layers.{stage}.blocks.0.attn.relative_coords_table"].shape[1] + 1) // 2


def _image_size(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], patch: int, window: int
) -> int | tuple[int, int]:
    """From the configuration, else from the number of positions or of windows; squares then."""
    if size := config.get("img_size"):
        return size if isinstance(size, int) else (size[0], size[1])
    if "encoder.absolute_pos_embed" in tensors:
        return patch * round(tensors["encoder.absolute_pos_embed"].shape[1] ** 0.5)
    masks = tensors.get("encoder.layers.0.blocks.1.attn_mask")
    return patch * window * (1 if masks is None else round(len(masks) ** 0.5))


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the encoder and, under "decoder", those of the decoder.

    Args:
        config: the official constructor arguments, maybe empty.
        tensors: the official weights.
    """
    found = swin_arguments(config.get("encoder", config), tensors)
    if "decoder.0.weight" not in tensors:
        return found
    outputs, width = tensors["decoder.0.weight"].shape[:2]
    stride = round((outputs / found["channels"]) ** 0.5)
    decoder = {"encoder_width": width, "stride": stride, "patch": found["embed_patch"], "channels": found["channels"]}
    return {**found, "decoder": decoder}


ADAPTER = StateDictAdapter(
    name="satvision",
    about="SatVision-TOA, Swin v2 of MODIS bands (Spradlin et al., 2024; github.com/nasa-nccs-hpda/pytorch-caney)",
    kind=SwinV2Encoder,
    parts={"decoder": LinearDecoder},
    arguments=arguments,
    keys=KEYS,
    ignored=dict.fromkeys(COMPUTED, "computed from the sizes, not learned"),
    prefixes=("model.",),
)
