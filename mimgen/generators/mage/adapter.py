"""Official checkpoints of MAGE (LTH14/mage): the whole transformer, without the VQGAN inside of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mimgen.checkpoints.release import StateDictAdapter
from mimgen.errors import UserError
from mimgen.generators.mage.model import MageTransformer

# Ids behind the codes that the release has rows for: one of them is the class slot's, the last is the mask.
SPARE = 1001
CLASS = 76
# In the release, but without a part in what it computes.
UNUSED = (
    "cls_token",
    "pos_embed",
    "mask_token",
    "patch_embed.",
    "decoder_pos_embed",
    "decoder_pred.",
    "token_emb.position_ids",
)
VQGAN = "vqgan."  # a tokenizer of its own
HEADS = {768: 12, 1024: 16}  # width -> attention heads of the released encoders: base, large
_HEAD = 64
_DECODER_HEADS = 16


def rename(key: str) -> str | None:
    """Our name of an official tensor; None for one that is not used, or is of the tokenizer."""
    if key == "decoder_pos_embed_learned":
        return key
    left_out = any(key == name or (name.endswith(".") and key.startswith(name)) for name in (*UNUSED, VQGAN))
    return None if left_out else key


def reshape(key: str, value: Tensor) -> Tensor:
    """Our rows of the words (codes, class slot, mask) and of the head's bias (codes)."""
    if key == "token_emb.word_embeddings.weight":
        codes = len(value) - SPARE
        return torch.cat([value[:codes], value[[codes + CLASS, -1]]])
    if key == "mlm_layer.bias":
        return value.flatten()[: value.numel() - SPARE]
    return value


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `MageTransformer`.

    Args:
        config: the official constructor arguments, maybe empty; numbers of heads and the ratio of the MLPs are
            taken from it. Without them the heads are those of the released sizes.
        tensors: the official weights.

    Raises:
        UserError: fewer words than spare ids.
    """
    words, width = tensors["token_emb.word_embeddings.weight"].shape
    if words <= SPARE:
        raise UserError(f"{words} words, of which {SPARE} would be spare")
    decoder_width = len(tensors["decoder_embed.weight"])
    return {
        "side": round((tensors["decoder_pos_embed_learned"].shape[1] - 1) ** 0.5),
        "codebook_size": words - SPARE,
        "width": width,
        "depth": _depth(tensors, "blocks."),
        "heads": int(config.get("num_heads") or HEADS.get(width, max(1, width // _HEAD))),
        "decoder_width": decoder_width,
        "decoder_depth": _depth(tensors, "decoder_blocks."),
        "decoder_heads": int(config.get("decoder_num_heads") or _DECODER_HEADS),
        "mlp_ratio": float(config.get("mlp_ratio") or len(tensors["blocks.0.mlp.fc1.weight"]) / width),
        "dropout": 0.1,
        "positions": len(tensors["token_emb.position_embeddings.weight"]),
    }


def _depth(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max(int(key.removeprefix(prefix).split(".")[0]) for key in tensors if key.startswith(prefix))


ADAPTER = StateDictAdapter(
    "mage",
    "masked generative encoders (Li et al., 2023; github.com/LTH14/mage), without their VQGAN",
    MageTransformer,
    arguments,
    rename,
    reshape=reshape,
)
