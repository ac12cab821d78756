"""Official iTPN checkpoints of the CLIP variant (sunsmarterjie/iTPN): backbone, neck and heads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.checkpoints.release import StateDictAdapter
from mimgen.decoders.pyramid import FeatureHeads
from mimgen.encoders.hivit import HiVitEncoder
from mimgen.methods.itpn.adapter import encoder_arguments, levels_of, of_encoder

_HEADS = (
    (r"^decoder_embed\.", "embed."),
    (r"^norm\.", "norm."),
    (r"^lm_head\.", "head."),
    (r"^cls_pt_layers\.", "blocks."),
    (r"^norm_cls\.", "early_norm."),
    (r"^lm_cls_head\.", "early_head."),
)


def rename(key: str) -> str | None:
    """Our name, within `OfficialModel`, of a tensor of the CLIP variant; None for what we compute."""
    for old, new in _HEADS:
        if re.match(old, key):
            return f"decoder.{re.sub(old, new, key)}"
    return of_encoder(key)


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `kind`: those of the encoder and, under "feature_heads", those of the heads.

    Args:
        config: the official constructor arguments, maybe empty; only `num_heads` is taken, where it is there.
        tensors: the official weights.
    """
    encoder = {**encoder_arguments(config, tensors), "mask_token": "mask_token" in tensors}
    if "lm_head.weight" not in tensors:
        return encoder
    own = [int(key.split(".")[1]) for key in tensors if key.startswith("cls_pt_layers.")]
    heads = {
        **{name: encoder[name] for name in ("image_size", "patch", "width", "heads", "qkv_bias", "mlp_ratio")},
        "pyramid_width": len(tensors["decoder_embed.0.0.weight"]),
        "output": len(tensors["lm_head.weight"]),
        "levels": levels_of(tensors),
        "depth": 1 + max(own, default=-1),
        "relative": "cls_pt_layers.0.attn.relative_position_bias_table" in tensors,
        "layer_scale": 0.1 if "cls_pt_layers.0.gamma_1" in tensors else None,
    }
    return {**encoder, "feature_heads": heads}


def kind(feature_heads: Mapping[str, Any] | None = None, **options: Any) -> OfficialModel:
    """The parts that these arguments are of."""
    return OfficialModel(HiVitEncoder(**options), None if feature_heads is None else FeatureHeads(**feature_heads))


ADAPTER = StateDictAdapter(
    "itpn_clip",
    "HiViT with its pyramid, pretrained on CLIP's features (iTPN, 2023; github.com/sunsmarterjie/iTPN)",
    kind,
    arguments,
    rename,
)
