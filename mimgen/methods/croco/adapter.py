"""Official CroCo checkpoints (naver/croco): pretrained encoder and decoder, with fixed or rotary positions.

The folder that is written is one of a `CrossViewVit`; the decoder lies in its subfolder `decoder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap
from mimgen.checkpoints.sizes import heads_of, numbered
from mimgen.methods.croco.decoder import CrossViewDecoder
from mimgen.methods.croco.encoder import CrossViewVit
from mimgen.methods.mae.adapter import HEADS

# width -> heads of the released decoders: small and base
DECODER_HEADS = {512: 16, 768: 12}

KEYS = KeyMap(
    ("enc_blocks.*", "encoder.blocks.*"),
    ("enc_norm.*", "encoder.norm.*"),
    ("patch_embed.*", "encoder.patch_embed.*"),
    ("dec_blocks.#.norm_y.*", "decoder.blocks.#.norm_memory.*"),
    ("dec_blocks.#.cross_attn.projq.*", "decoder.blocks.#.cross_attn.q.*"),
    ("dec_blocks.#.cross_attn.projk.*", "decoder.blocks.#.cross_attn.k.*"),
    ("dec_blocks.#.cross_attn.projv.*", "decoder.blocks.#.cross_attn.v.*"),
    ("dec_blocks.*", "decoder.blocks.*"),
    ("dec_norm.*", "decoder.norm.*"),
    ("decoder_embed.*", "decoder.embed.*"),
    ("prediction_head.*", "decoder.pred.*"),
    ("mask_token", "decoder.mask_token"),
)


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the encoder and, under "decoder", those of the decoder.

    Args:
        config: the official constructor arguments, maybe empty. Sizes follow from the tensors; heads, the size of
            the images and the kind of positions are taken from here where it has them.
        tensors: the official weights.
    """
    config = config.get("croco_kwargs") or config
    width, channels, patch = tensors["patch_embed.proj.weight"].shape[:3]
    side = config.get("img_size", 224)
    shared = {
        "image_size": side if isinstance(side, int) else tuple(side),
        "patch": patch,
        **positions_of(config, tensors),
    }
    encoder = {
        **shared,
        "width": width,
        "depth": numbered(tensors, "enc_blocks."),
        "heads": heads_of(width, config.get("enc_num_heads"), HEADS),
        "mlp_ratio": len(tensors["enc_blocks.0.mlp.fc1.weight"]) / width,
        "channels": channels,
    }
    if "decoder_embed.weight" not in tensors:
        return encoder
    inner = len(tensors["decoder_embed.weight"])
    decoder = {
        **shared,
        "encoder_width": width,
        "width": inner,
        "depth": numbered(tensors, "dec_blocks."),
        "heads": heads_of(inner, config.get("dec_num_heads"), DECODER_HEADS),
        "output": len(tensors["prediction_head.weight"]),
        "mlp_ratio": len(tensors["dec_blocks.0.mlp.fc1.weight"]) / inner,
        "norm_memory": "dec_blocks.0.norm_y.weight" in tensors,
    }
    return {**encoder, "decoder": decoder}


def positions_of(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Our words for "cosine" and for "RoPE<base>"; what the config leaves open follows from the tables."""
    usual = "cosine" if "enc_pos_embed" in tensors else "RoPE100"
    kind_of_positions = str(config.get("pos_embed") or usual)
    if not kind_of_positions.startswith("RoPE"):
        return {"positions": "fixed"}
    return {"positions": "rotary", "base": float(kind_of_positions.removeprefix("RoPE") or 100)}


ADAPTER = StateDictAdapter(
    name="croco",
    about="cross-view completion, encoder and decoder (Weinzaepfel et al., 2022; github.com/naver/croco)",
    kind=CrossViewVit,
    parts={"decoder": CrossViewDecoder},
    arguments=arguments,
    keys=KEYS,
    ignored=dict.fromkeys(("enc_pos_embed", "dec_pos_embed"), "a table of sines and cosines, computed from the sizes"),
)
