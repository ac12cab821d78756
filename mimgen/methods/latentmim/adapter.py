"""Official LatentMIM checkpoints (yibingwei-1/LatentMIM): the online encoder, with its decoder.

The folder that is written is one of a `LatentVit`; the decoder lies in its subfolder `decoder`. The slow copy of
the encoder is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.checkpoints.release import StateDictAdapter
from mimgen.methods.latentmim.networks import LatentDecoder, LatentVit
from mimgen.methods.mae.adapter import DECODER_HEADS, heads_of

COPY = "target_encoder."

_PLACES = (
    (r"^((?:target_)?encoder)\.embed\.proj\.", r"\1.patch_embed.proj."),
    (r"^((?:target_)?encoder)\.head\.(linear|norm)(\d+)\.", r"\1.projector.\2s.\3."),
    (r"^decoder\.head\.", "decoder.pred."),
    (r"\.pos_embed\.pos_embeds$", ".pos_embed"),
    (r"\.self_attn\.", ".attn."),
    (r"\.norm2q\.", ".norm2."),
    (r"\.norm2kv\.", ".norm_memory."),
    (r"\.cross_attn\.(q|kv)_proj\.", r".cross_attn.\1."),
)


def rename(key: str) -> str | None:
    """Our name of an official tensor; None for one of the slow copy."""
    return None if key.startswith(COPY) else name_of(key)


def name_of(key: str) -> str:
    """Our name of an official tensor, those of the slow copy too."""
    for old, new in _PLACES:
        key = re.sub(old, new, key)
    return key


def reshape(key: str, value: Tensor) -> Tensor:
    """Our tensor: position tables have a batch dimension."""
    return value[None] if key.endswith("pos_embed") and value.ndim == 2 else value


def shapes(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Arguments of the encoder and of the decoder, if there is one.

    Args:
        config: the official constructor arguments, maybe empty. Sizes follow from the tensors; numbers of heads and
            whether the weighted mean is asked with are taken from here where they are predicted.
        tensors: the official weights.
    """
    width, numbers = tensors["encoder.embed.proj.weight"].shape
    patch, positions = round((numbers / 3) ** 0.5), len(tensors["encoder.pos_embed.pos_embeds"]) - 1
    shared = {"image_size": round(positions**0.5) * patch, "patch": patch}
    layers = [key for key in tensors if key.startswith("encoder.head.linear")]
    encoder = {
        **shared,
        "width": width,
        "depth": _depth(tensors, "encoder.blocks."),
        "heads": int(config.get("num_heads") or heads_of(width)),
        "mlp_ratio": len(tensors["encoder.blocks.0.mlp.fc1.weight"]) / width,
        "head_width": len(tensors["encoder.head.linear0.weight"]) if layers else 0,
        "head_depth": len(layers),
    }
    if "decoder.embed.weight" not in tensors:
        return encoder, None
    inner = len(tensors["decoder.embed.weight"])
    decoder = {
        **shared,
        "encoder_width": width,
        "width": inner,
        "depth": _depth(tensors, "decoder.blocks."),
        "heads": int(config.get("decoder_num_heads") or DECODER_HEADS.get(inner, max(1, inner // 32))),
        "mlp_ratio": len(tensors["decoder.blocks.0.mlp.fc1.weight"]) / inner,
        "averaged": bool(config.get("avg_vis_mask_token", True)),
    }
    return encoder, decoder


def _depth(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max(int(key.removeprefix(prefix).split(".")[0]) for key in tensors if key.startswith(prefix))


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `kind`: those of the encoder and, under "decoder", those of the decoder."""
    encoder, decoder = shapes(config, tensors)
    return encoder if decoder is None else {**encoder, "decoder": decoder}


def kind(decoder: Mapping[str, Any] | None = None, **options: Any) -> OfficialModel:
    """The parts that these arguments are of."""
    return OfficialModel(LatentVit(**options), decoder=None if decoder is None else LatentDecoder(**decoder))


ADAPTER = StateDictAdapter(
    "latentmim",
    "LatentMIM, encoder and decoder (Wei et al., 2024; github.com/yibingwei-1/LatentMIM)",
    kind,
    arguments,
    rename,
    reshape=reshape,
)
