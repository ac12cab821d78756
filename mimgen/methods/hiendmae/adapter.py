"""Official Hi-End-MAE checkpoints (FengheTan9/Hi-End-MAE): encoder of volumes, with its decoder.

The folder that is written is one of a `VolumeVit`; where the release has the decoder, too, it lies in the
subfolder `decoder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.checkpoints.release import StateDictAdapter
from mimgen.methods.hiendmae.decoder import HierarchicalDecoder
from mimgen.methods.hiendmae.encoder import VolumeVit, sincos

# width -> attention heads of the released sizes, encoder and decoder
HEADS = {768: 12, 1536: 16}
DECODER_HEADS = {384: 12, 528: 16}
TAPS = (9, 6, 3)


def rename(key: str) -> str:
    """Our name, within `OfficialModel`, of an official tensor.

    The release's last projection is of the output, the others of the taps, from shallow to deep.
    """
    key = key.removeprefix("module.")
    if key.startswith("encoder_to_decoder."):
        number, kind = key.split(".")[1:]
        return f"decoder.embed.{kind}" if int(number) == len(TAPS) else f"decoder.memories.{2 - int(number)}.{kind}"
    if key in ("encoder_pos_embed", "decoder_pos_embed"):
        return key.replace("_pos_embed", ".pos_embed")
    if key == "mask_token":
        return "decoder.mask_token"
    return key.replace("decoder.cross_attention_blocks.", "decoder.cross_blocks.")


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `kind`: those of the encoder and, under "decoder", those of the decoder.

    Args:
        config: the official constructor arguments or those of a run, maybe empty; numbers of heads are taken from
            its parts "encoder" and "decoder", where they are there.
        tensors: the official weights.
    """
    tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    kernel, table = tensors["encoder.patch_embed.proj.weight"], tensors["encoder_pos_embed"]
    side, width = round(table.shape[1] ** (1 / 3)), len(kernel)
    patch = tuple(kernel.shape[2:])
    inner = {part: config.get(part) or {} for part in ("encoder", "decoder")}
    found = {
        "image_size": tuple(side * part for part in patch),
        "patch": patch,
        "width": width,
        "depth": _count(tensors, "encoder.blocks."),
        "heads": int(inner["encoder"].get("num_heads") or HEADS.get(width, max(1, width // 64))),
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
        "depth": _count(tensors, "decoder.blocks."),
        "heads": int(inner["decoder"].get("num_heads") or DECODER_HEADS.get(narrow, max(1, narrow // 32))),
        "mlp_ratio": len(tensors["decoder.cross_attention_blocks.0.mlp.fc1.weight"]) / narrow,
        "qkv_bias": "decoder.cross_attention_blocks.0.self_attn.qkv.bias" in tensors,
        "positions": _kind_of(tensors["decoder_pos_embed"], (side,) * 3),
    }
    return {**found, "decoder": decoder}


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    numbers = [int(key.removeprefix(prefix).split(".")[0]) for key in tensors if key.startswith(prefix)]
    return 1 + max(numbers, default=-1)


def _kind_of(table: Tensor, cells: tuple[int, ...]) -> str:
    """ "fixed" where the table [1, N, D] is that of sines and cosines, else "learned"."""
    width = table.shape[-1]
    if width % (2 * len(cells)):
        return "learned"
    return "fixed" if (table[0].float() - sincos(width, cells)).abs().max() < 1e-2 else "learned"


def kind(decoder: Mapping[str, Any] | None = None, **options: Any) -> OfficialModel:
    """The parts that these arguments are of."""
    return OfficialModel(VolumeVit(**options), None if decoder is None else HierarchicalDecoder(**decoder))


ADAPTER = StateDictAdapter(
    "hiendmae",
    "a transformer of medical volumes with its hierarchical decoder (2025; github.com/FengheTan9/Hi-End-MAE)",
    kind,
    arguments,
    rename,
)
