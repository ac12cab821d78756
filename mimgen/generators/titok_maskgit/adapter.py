"""Official generators over TiTok's ids (bytedance): folders of config.json or config.yaml and weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.sizes import numbered
from mimgen.generators.titok_maskgit.model import TiTokMaskGit

__all__ = ["ADAPTER", "arguments"]


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments; only heads and dropout leave no trace in the tensors.

    Args:
        config: the official configuration, maybe empty; without it there are 16 heads, as in every release.
        tensors: the official weights.
    """
    options: Mapping[str, Any] = config.get("model", config).get("generator", {})
    bert = "model.lm_head.weight" in tensors
    start = "model." if bert else ""
    codes, width = tensors[f"{start}lm_head.weight"].shape
    words = len(tensors["model.embeddings.word_embeddings.weight" if bert else "embeddings.weight"])
    if bert:
        positions = len(tensors["model.embeddings.position_embeddings.weight"])
        hidden = "encoder.layer.0.intermediate.dense"
        depth = numbered(tensors, "model.encoder.layer.")
    else:
        positions, hidden = tensors["pos_embed"].shape[1], "mid_block.mlp.fc1"
        depth = 2 * numbered(tensors, "in_blocks.") + 1
    return {
        "codebook_size": codes,
        "length": positions - 1,
        "classes": words - codes - 2,
        "body": "bert" if bert else "uvit",
        "width": width,
        "depth": depth,
        "heads": int(options.get("num_attention_heads", 16)),
        "hidden": len(tensors[f"{start}{hidden}.weight"]),
        "dropout": float(options.get("dropout", 0.1)),
    }


ADAPTER = StateDictAdapter(
    name="titok_maskgit",
    about="class-conditional generators over TiTok's ids (Yu et al., 2024; github.com/bytedance/1d-tokenizer)",
    kind=TiTokMaskGit,
    arguments=arguments,
    ignored=dict.fromkeys(("*.position_ids", "*.token_type_ids"), "numbers of positions, which are no weights"),
)
