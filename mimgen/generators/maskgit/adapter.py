"""Official checkpoints of Halton-MaskGIT (valeoai/Halton-MaskGIT): the class-conditional transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap
from mimgen.checkpoints.sizes import grid_side, heads_of, numbered
from mimgen.errors import UserError
from mimgen.generators.maskgit.model import ClassTransformer


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `ClassTransformer`.

    Args:
        config: the official constructor arguments, maybe empty; the number of heads is taken from it, and the
            width of a plain MLP, of which the weights show only the next multiple of 256.
        tensors: the official weights.

    Raises:
        UserError: tokens are embedded several at a time.
    """
    if int(config.get("proj", 1)) > 1:
        raise UserError("proj > 1 (several tokens at one place) is not supported: choose a checkpoint with proj 1")
    vocabulary, width = tensors["tok_emb.weight"].shape
    inner = len(tensors["transformer.layers.0.ff.w1.weight"])
    return {
        "side": grid_side(len(tensors["pos_emb.weight"])),
        "codebook_size": vocabulary - 1,
        "classes": len(tensors["cls_emb.weight"]) - 1,
        "width": width,
        "depth": numbered(tensors, "transformer.layers."),
        "heads": heads_of(width, config.get("heads")),
        "hidden": int(config.get("mlp_dim") or inner * 3 // 2),
        "registers": len(tensors["reg_tokens.weight"]) if "reg_tokens.weight" in tensors else 0,
        "dropout": float(config.get("dropout", 0.0)),
    }


ADAPTER = StateDictAdapter(
    name="halton_maskgit",
    about="class-conditional masked generators of Halton-MaskGIT (Besnier et al., 2025; "
    "github.com/valeoai/Halton-MaskGIT)",
    kind=ClassTransformer,
    arguments=arguments,
    keys=KeyMap(("head.bias", "bias")),
    copies={"head.weight": "tok_emb.weight"},
)
