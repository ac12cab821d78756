"""Official iTPN checkpoints of the CLIP variant (sunsmarterjie/iTPN): backbone, neck and heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap
from mimgen.checkpoints.sizes import numbered
from mimgen.decoders.pyramid import FeatureHeads
from mimgen.encoders.hivit import HiVitEncoder
from mimgen.methods.itpn.adapter import COMPUTED, ENCODER, encoder_arguments, levels_of

KEYS = KeyMap(
    ("decoder_embed.*", "decoder.embed.*"),
    ("norm.*", "decoder.norm.*"),
    ("lm_head.*", "decoder.head.*"),
    ("cls_pt_layers.*", "decoder.blocks.*"),
    ("norm_cls.*", "decoder.early_norm.*"),
    ("lm_cls_head.*", "decoder.early_head.*"),
    *ENCODER,
)


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the encoder and, under "decoder", those of the heads.

    Args:
        config: the official constructor arguments, maybe empty; only `num_heads` is taken, where it is there.
        tensors: the official weights.
    """
    encoder = {**encoder_arguments(config, tensors), "mask_token": "mask_token" in tensors}
    if "lm_head.weight" not in tensors:
        return encoder
    heads = {
        **{name: encoder[name] for name in ("image_size", "patch", "width", "heads", "qkv_bias", "mlp_ratio")},
        "pyramid_width": len(tensors["decoder_embed.0.0.weight"]),
        "output": len(tensors["lm_head.weight"]),
        "levels": levels_of(tensors),
        "depth": numbered(tensors, "cls_pt_layers."),
        "relative": "cls_pt_layers.0.attn.relative_position_bias_table" in tensors,
        "layer_scale": 0.1 if "cls_pt_layers.0.gamma_1" in tensors else None,
    }
    return {**encoder, "decoder": heads}


ADAPTER = StateDictAdapter(
    name="itpn_clip",
    about="HiViT with its pyramid, pretrained on CLIP's features (iTPN, 2023; github.com/sunsmarterjie/iTPN)",
    kind=HiVitEncoder,
    parts={"decoder": FeatureHeads},
    arguments=arguments,
    keys=KEYS,
    ignored=COMPUTED,
)
