"""Official checkpoints of Halton-MaskGIT (valeoai/Halton-MaskGIT): the class-conditional transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mimgen.checkpoints.release import StateDictAdapter
from mimgen.errors import UserError
from mimgen.generators.maskgit.model import ClassTransformer

_HEAD = 64  # channels of a head, where the configuration does not say


def rename(key: str) -> str | None:
    """Our name of an official tensor; the weight of the head is that of the tokens."""
    return {"head.weight": None, "head.bias": "bias"}.get(key, key)


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `ClassTransformer`.

    Args:
        config: the official constructor arguments, maybe empty; the number of heads is taken from it, and the
            width of a plain MLP, of which the weights show only the next multiple of 256.
        tensors: the official weights.

    Raises:
        UserError: the head has a weight of its own, or tokens are embedded several at a time.
    """
    if int(config.get("proj", 1)) > 1:
        raise UserError("proj > 1 (several tokens at one place) is not supported: choose a checkpoint with proj 1")
    vocabulary, width = tensors["tok_emb.weight"].shape
    if "head.weight" in tensors and not torch.equal(tensors["head.weight"], tensors["tok_emb.weight"]):
        raise UserError("head.weight differs from tok_emb.weight, to which it is tied")
    inner = len(tensors["transformer.layers.0.ff.w1.weight"])
    return {
        "side": round(len(tensors["pos_emb.weight"]) ** 0.5),
        "codebook_size": vocabulary - 1,
        "classes": len(tensors["cls_emb.weight"]) - 1,
        "width": width,
        "depth": 1 + max(int(key.split(".")[2]) for key in tensors if key.startswith("transformer.layers.")),
        "heads": int(config.get("heads") or max(1, width // _HEAD)),
        "hidden": int(config.get("mlp_dim") or inner * 3 // 2),
        "registers": len(tensors["reg_tokens.weight"]) if "reg_tokens.weight" in tensors else 0,
        "dropout": float(config.get("dropout", 0.0)),
    }


ADAPTER = StateDictAdapter(
    "halton_maskgit",
    "class-conditional masked generators of Halton-MaskGIT (Besnier et al., 2025; github.com/valeoai/Halton-MaskGIT)",
    ClassTransformer,
    arguments,
    rename,
)
