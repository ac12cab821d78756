"""Official CAE checkpoints (Atten4Vis/CAE): pretraining with regressor and decoder, or the encoder alone.

The folder that is written is one of a `CaeEncoder`; where the release has regressor and decoder, they lie in the
subfolder `decoder`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap
from mimgen.checkpoints.sizes import grid_side, heads_of, numbered
from mimgen.methods.cae.networks import CaeDecoder, CaeEncoder

PRETRAINED = KeyMap(
    ("mask_token", "decoder.mask_token"),
    ("encoder_to_decoder.*", "decoder.encoder_to_decoder.*"),
    ("encoder_to_decoder_norm.*", "decoder.encoder_to_decoder_norm.*"),
    ("pretext_neck.*.cross_attn.q_bias", "decoder.*.cross_attn.q.bias"),
    ("pretext_neck.*.cross_attn.v_bias", "decoder.*.cross_attn.v.bias"),
    ("pretext_neck.*", "decoder.*"),
)
ALONE = KeyMap(("*", "encoder.*"), also=(("encoder.*", "encoder.*"),))


def keys(names: Iterable[str]) -> KeyMap:
    """An encoder saved alone has no "encoder." in front of its names."""
    found = tuple(names)
    whole = any(name.startswith(("pretext_neck.", "decoder.", "mask_token", "encoder_to")) for name in found)
    return PRETRAINED if whole else ALONE


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the encoder and, under "decoder", those of the decoder.

    Args:
        config: the official constructor arguments, maybe empty; only numbers of heads are taken from it, and
            only where it has them. The rest follows from the tensors.
        tensors: the official weights.
    """
    front = "encoder." if "encoder.pos_embed" in tensors else ""
    width, _, patch = tensors[f"{front}patch_embed.proj.weight"].shape[:3]
    found = {
        "pixels": grid_side(tensors[f"{front}pos_embed"].shape[1] - 1) * patch,
        "patch": patch,
        "width": width,
        "depth": numbered(tensors, f"{front}blocks."),
        "heads": heads_of(width, config.get("num_heads")),
        "mlp_ratio": len(tensors[f"{front}blocks.0.mlp.fc1.weight"]) / width,
        "layer_scale": 0.1 if f"{front}blocks.0.gamma_1" in tensors else None,
        "qkv_bias": f"{front}blocks.0.attn.q_bias" in tensors,
    }
    if "pretext_neck.head.weight" not in tensors:
        return found
    output, inner = tensors["pretext_neck.head.weight"].shape
    first = "pretext_neck.regressor_blocks.0."
    decoder = {
        "output": output,
        "encoder_width": width,
        "width": inner,
        "regressor_depth": numbered(tensors, "pretext_neck.regressor_blocks."),
        "decoder_depth": numbered(tensors, "pretext_neck.decoder_blocks."),
        "heads": heads_of(inner, config.get("args", {}).get("decoder_num_heads")),
        "mlp_ratio": len(tensors[f"{first}mlp_cross.fc1.weight"]) / inner,
        "layer_scale": 0.1 if f"{first}gamma_1_cross" in tensors else None,
        "qkv_bias": f"{first}cross_attn.q_bias" in tensors,
    }
    return {**found, "decoder": decoder}


ADAPTER = StateDictAdapter(
    name="cae",
    about="context autoencoders, pretrained or the encoder alone (Chen et al., 2023; github.com/Atten4Vis/CAE)",
    kind=CaeEncoder,
    parts={"decoder": CaeDecoder},
    arguments=arguments,
    keys=keys,
    ignored={"teacher.*": "a moving average of the encoder"},
)
