"""Official Hi-End-MAE checkpoints (FengheTan9/Hi-End-MAE): encoder of volumes, with its decoder.

The folder that is written is one of a `VolumeVit`; where the release has the decoder, too, it lies in the
subfolder `decoder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap
from mimgen.checkpoints.sizes import grid_side, heads_of, numbered
from mimgen.methods.hiendmae.decoder import HierarchicalDecoder
from mimgen.methods.hiendmae.encoder import VolumeVit, sincos

# width -> attention heads of the released sizes, encoder and decoder
HEADS = {768: 12, 1536: 16}
DECODER_HEADS = {384: 12, 528: 16}
TAPS = (9, 6, 3)


KEYS = KeyMap(
    ("encoder_pos_embed", "encoder.pos_embed"),
    ("decoder_pos_embed", "decoder.pos_embed"),
    ("mask_token", "decoder.mask_token"),
    # the release's last projection is of the output, the others are of the taps, from shallow to deep
    ("encoder_to_decoder.3.*", "decoder.embed.*"),
    ("encoder_to_decoder.2.*", "decoder.memories.0.*"),
    ("encoder_to_decoder.1.*", "decoder.memories.1.*"),
    ("encoder_to_decoder.0.*", "decoder.memories.2.*"),
    ("decoder.cross_attention_blocks.*", "decoder.cross_blocks.*"),
)


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the encoder and, under "decoder", those of the decoder.

    Args:
        config: the official constructor arguments or those of a run, maybe empty; numbers of heads are taken from
            its parts "encoder" and "decoder", where they are there.
        tensors: the official weights.
    """
    kernel, table = tensors["encoder.patch_embed.proj.weight"], tensors["encoder_pos_embed"]
    side, width = grid_side(table.shape[1], axes=3), len(kernel)
    patch = tuple(kernel.shape[2:])
    inner = {part: config.get(part) or {} for part in ("encoder", "decoder")}
    found = {
        "image_size": tuple(side * part for part in patch),
        "patch": patch,
        "width": width,
        "depth": numbered(tensors, "encoder.blocks."),
        "heads": heads_of(width, inner["encoder"].get("num_heads"), HEADS),
        "mlp_ratio": len(tensors["encoder.blocks.0.mlp.fc1.weight"]) / width,
        "qkv_bias": "encoder.blocks.0.attn.qkv.bias" in tensors,
        "positions": _kind_of(table, (side,) * 3),
        "channels": kernel.shape[1],
    }
    if "decoder.head.weight" not in tensors:
        return found
    output, narrow = tensors["decoder.head.weight"].shape
    decoder = {
        "cells": (side,) * 3,
        "encoder_width": width,
        "output": output,
        "taps": TAPS,
        "width": narrow,
        "depth": numbered(tensors, "decoder.blocks."),
        "heads": heads_of(narrow, inner["decoder"].get("num_heads"), DECODER_HEADS, head=32),
        "mlp_ratio": len(tensors["decoder.cross_attention_blocks.0.mlp.fc1.weight"]) / narrow,
        "qkv_bias": "decoder.cross_attention_blocks.0.self_attn.qkv.bias" in tensors,
        "positions": _kind_of(tensors["decoder_pos_embed"], (side,) * 3),
    }
    return {**found, "decoder": decoder}


def _kind_of(table: Tensor, cells: tuple[int, ...]) -> str:
    """ "fixed" where the table [1, N, D] is that of sines and cosines, else "learned"."""
    width = table.shape[-1]
    if width % (2 * len(cells)):
        return "learned"
    return "fixed" if (table[0].float() - sincos(width, cells)).abs().max() < 1e-2 else "learned"


ADAPTER = StateDictAdapter(
    name="hiendmae",
    about="a transformer of medical volumes with its hierarchical decoder (2025; github.com/FengheTan9/Hi-End-MAE)",
    kind=VolumeVit,
    parts={"decoder": HierarchicalDecoder},
    arguments=arguments,
    keys=KEYS,
    prefixes=("module.",),
)
