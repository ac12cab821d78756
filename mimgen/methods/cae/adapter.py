"""Official CAE checkpoints (Atten4Vis/CAE): pretraining with regressor and decoder, or the encoder alone.

The folder that is written is one of a `CaeEncoder`; where the release has regressor and decoder, they lie in the
subfolder `decoder`. The teacher, a copy of the encoder, is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.checkpoints.release import StateDictAdapter
from mimgen.methods.cae.networks import CaeDecoder, CaeEncoder

HEAD = 64  # channels of an attention head in every released model
_DECODER = ("encoder_to_decoder.", "encoder_to_decoder_norm.", "mask_token")


def rename(key: str) -> str | None:
    """Our name of an official tensor; None for the teacher's."""
    if key.startswith("teacher."):
        return None
    if key.startswith("pretext_neck.") or key.startswith(_DECODER):
        ours = "decoder." + key.removeprefix("pretext_neck.")
        return re.sub(r"\.cross_attn\.([qv])_bias$", r".cross_attn.\1.bias", ours)
    return key if key.startswith("encoder.") else f"encoder.{key}"


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `kind`: those of the encoder and, under "decoder", those of the decoder.

    Args:
        config: the official constructor arguments, maybe empty; only numbers of heads are taken from it, and
            only where it has them. The rest follows from the tensors.
        tensors: the official weights.
    """
    named = {ours: value for key, value in tensors.items() if (ours := rename(key)) is not None}
    side = round((named["encoder.pos_embed"].shape[1] - 1) ** 0.5)
    width, _, patch = named["encoder.patch_embed.proj.weight"].shape[:3]
    found = {
        "pixels": side * patch,
        "patch": patch,
        "width": width,
        "depth": _depth(named, "encoder.blocks."),
        "heads": int(config.get("num_heads") or max(1, width // HEAD)),
        "mlp_ratio": len(named["encoder.blocks.0.mlp.fc1.weight"]) / width,
        "layer_scale": 0.1 if "encoder.blocks.0.gamma_1" in named else None,
        "qkv_bias": "encoder.blocks.0.attn.q_bias" in named,
    }
    if "decoder.head.weight" not in named:
        return found
    output, inner = named["decoder.head.weight"].shape
    heads = config.get("args", {}).get("decoder_num_heads") or max(1, inner // HEAD)
    decoder = {
        "output": output,
        "encoder_width": width,
        "width": inner,
        "regressor_depth": _depth(named, "decoder.regressor_blocks."),
        "decoder_depth": _depth(named, "decoder.decoder_blocks."),
        "heads": int(heads),
        "mlp_ratio": len(named["decoder.regressor_blocks.0.mlp_cross.fc1.weight"]) / inner,
        "layer_scale": 0.1 if "decoder.regressor_blocks.0.gamma_1_cross" in named else None,
        "qkv_bias": "decoder.regressor_blocks.0.cross_attn.q.bias" in named,
    }
    return {**found, "decoder": decoder}


def _depth(tensors: Mapping[str, Tensor], prefix: str) -> int:
    numbers = [int(key.removeprefix(prefix).split(".")[0]) for key in tensors if key.startswith(prefix)]
    return 1 + max(numbers, default=-1)


def kind(decoder: Mapping[str, Any] | None = None, **options: Any) -> OfficialModel:
    """The parts that these arguments are of."""
    return OfficialModel(CaeEncoder(**options), decoder=None if decoder is None else CaeDecoder(**decoder))


ADAPTER = StateDictAdapter(
    "cae",
    "context autoencoders, pretrained or the encoder alone (Chen et al., 2023; github.com/Atten4Vis/CAE)",
    kind,
    arguments,
    rename,
)
