"""Official CroCo checkpoints (naver/croco): pretrained encoder and decoder, with fixed or rotary positions.

The folder that is written is one of a `CrossViewVit`; the decoder lies in its subfolder `decoder`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.checkpoints.release import StateDictAdapter
from mimgen.decoders.cross_attention import CrossViewDecoder
from mimgen.methods.croco.encoder import CrossViewVit
from mimgen.methods.mae.adapter import HEADS

# width -> heads of the released decoders: small and base
DECODER_HEADS = {512: 16, 768: 12}
_HEAD = 64  # channels of a head elsewhere

_PLACES = (
    (r"^enc_blocks\.", "encoder.blocks."),
    (r"^enc_norm\.", "encoder.norm."),
    (r"^patch_embed\.", "encoder.patch_embed."),
    (r"^dec_blocks\.", "decoder.blocks."),
    (r"^dec_norm\.", "decoder.norm."),
    (r"^decoder_embed\.", "decoder.embed."),
    (r"^prediction_head\.", "decoder.pred."),
    (r"^mask_token$", "decoder.mask_token"),
    (r"\.norm_y\.", ".norm_memory."),
    (r"\.cross_attn\.proj([qkv])\.", r".cross_attn.\1."),
)


def rename(key: str) -> str | None:
    """Our name of an official tensor; position tables are a formula and left out."""
    return None if key in ("enc_pos_embed", "dec_pos_embed") else name_of(key)


def name_of(key: str) -> str:
    """Our name of an official tensor that is no position table."""
    for old, new in _PLACES:
        key = re.sub(old, new, key)
    return key


def shapes(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Arguments of the encoder and of the decoder, if there is one.

    Args:
        config: the official constructor arguments, maybe empty. Sizes follow from the tensors; heads, the size of
            the images and the kind of positions are taken from here where they are predicted.
        tensors: the official weights.
    """
    width, channels, patch = tensors["patch_embed.proj.weight"].shape[:3]
    positions = positions_of(config, tensors)
    side = config.get("img_size", 224)
    size = side if isinstance(side, int) else tuple(side)
    encoder = {
        "image_size": size,
        "patch": patch,
        "width": width,
        "depth": _depth(tensors, "enc_blocks."),
        "heads": int(config.get("enc_num_heads") or HEADS.get(width, max(1, width // _HEAD))),
        "mlp_ratio": len(tensors["enc_blocks.0.mlp.fc1.weight"]) / width,
        "channels": channels,
        **positions,
    }
    if "decoder_embed.weight" not in tensors:
        return encoder, None
    inner = len(tensors["decoder_embed.weight"])
    decoder = {
        "image_size": size,
        "patch": patch,
        "encoder_width": width,
        "width": inner,
        "depth": _depth(tensors, "dec_blocks."),
        "heads": int(config.get("dec_num_heads") or DECODER_HEADS.get(inner, max(1, inner // _HEAD))),
        "output": len(tensors["prediction_head.weight"]),
        "mlp_ratio": len(tensors["dec_blocks.0.mlp.fc1.weight"]) / inner,
        "norm_memory": "dec_blocks.0.norm_y.weight" in tensors,
        **positions,
    }
    return encoder, decoder


def positions_of(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Our words for "cosine" and for "RoPE<base>"; what the config leaves open follows from the tables."""
    usual = "cosine" if "enc_pos_embed" in tensors else "RoPE100"
    kind_of_positions = str(config.get("pos_embed") or usual)
    if not kind_of_positions.startswith("RoPE"):
        return {"positions": "fixed"}
    return {"positions": "rotary", "base": float(kind_of_positions.removeprefix("RoPE") or 100)}


def _depth(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max(int(key.removeprefix(prefix).split(".")[0]) for key in tensors if key.startswith(prefix))


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `kind`: those of the encoder and, under "decoder", those of the decoder."""
    config = config.get("croco_kwargs") or config
    encoder, decoder = shapes(config, tensors)
    return encoder if decoder is None else {**encoder, "decoder": decoder}


def kind(decoder: Mapping[str, Any] | None = None, **options: Any) -> OfficialModel:
    """The parts that these arguments are of."""
    return OfficialModel(CrossViewVit(**options), decoder=None if decoder is None else CrossViewDecoder(**decoder))


ADAPTER = StateDictAdapter(
    "croco",
    "cross-view completion, encoder and decoder (Weinzaepfel et al., 2022; github.com/naver/croco)",
    kind,
    arguments,
    rename,
)
