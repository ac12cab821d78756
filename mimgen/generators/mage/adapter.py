"""Official checkpoints of MAGE (LTH14/mage): the whole transformer, without the VQGAN inside of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import Reshape
from mimgen.checkpoints.sizes import grid_side, heads_of, numbered
from mimgen.errors import UserError
from mimgen.generators.mage.model import MageTransformer

# Ids behind the codes that the release has rows for: one of them is the class slot's, the last is the mask.
SPARE = 1001
CLASS = 76
UNUSED = (
    "cls_token", "pos_embed", "mask_token", "patch_embed.*", "decoder_pos_embed", "decoder_pred.*",
    "token_emb.position_ids",
)  # fmt: skip
HEADS = {768: 12, 1024: 16}  # width -> attention heads of the released encoders: base, large
_DECODER_HEADS = 16


def _words(official: Tensor) -> Tensor:
    """Our rows [K + 2, D]: codes, class slot, mask."""
    codes = len(official) - SPARE
    return torch.cat([official[:codes], official[[codes + CLASS, -1]]])


def _official_words(ours: Tensor) -> Tensor:
    """The official rows [K + SPARE, D]; those of ids that never occur are zero."""
    codes = len(ours) - 2
    rows = ours.new_zeros(codes + SPARE, ours.shape[1])
    rows[:codes], rows[codes + CLASS], rows[-1] = ours[:codes], ours[-2], ours[-1]
    return rows


def _official_bias(ours: Tensor) -> Tensor:
    """[1, 1, K + SPARE]; zero for ids that are never predicted."""
    return torch.cat([ours, ours.new_zeros(SPARE)])[None, None]


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
        "side": grid_side(tensors["decoder_pos_embed_learned"].shape[1] - 1),
        "codebook_size": words - SPARE,
        "width": width,
        "depth": numbered(tensors, "blocks."),
        "heads": heads_of(width, config.get("num_heads"), HEADS),
        "decoder_width": decoder_width,
        "decoder_depth": numbered(tensors, "decoder_blocks."),
        "decoder_heads": int(config.get("decoder_num_heads") or _DECODER_HEADS),
        "mlp_ratio": float(config.get("mlp_ratio") or len(tensors["blocks.0.mlp.fc1.weight"]) / width),
        "dropout": 0.1,
        "positions": len(tensors["token_emb.position_embeddings.weight"]),
    }


_SPARE_IDS = "rows of ids that never occur are not kept"
ADAPTER = StateDictAdapter(
    name="mage",
    about="masked generative encoders (Li et al., 2023; github.com/LTH14/mage), without their VQGAN",
    kind=MageTransformer,
    arguments=arguments,
    reshapes=(
        Reshape("token_emb.word_embeddings.weight", _words, _official_words, lost=_SPARE_IDS),
        Reshape("mlm_layer.bias", lambda bias: bias.flatten()[:-SPARE], _official_bias, lost=_SPARE_IDS),
    ),
    ignored={"vqgan.*": "a tokenizer of its own", **dict.fromkeys(UNUSED, "without a part in what it computes")},
)
