"""Official VQ-KD tokenizers of BEiT v2 (microsoft/unilm, beit2): `vqkd_encoder_base_decoder_*.pth`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.sizes import grid_side, heads_of, numbered
from mimgen.tokenizers.vqkd.model import VqKd


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of `VqKd`.

    Args:
        config: the official constructor arguments (with `n_embed`); the released files hold those of the
            run instead, from which nothing is taken: sizes follow from the tensors.
        tensors: the official weights.
    """
    official = config if "n_embed" in config else {}
    side = grid_side(tensors["encoder.pos_embed"].shape[1] - 1)
    patch = tensors["encoder.patch_embed.proj.weight"].shape[-1]
    codes, dim = tensors["quantize.embedding.weight"].shape
    return {
        "pixels": side * patch,
        "patch": patch,
        **_trunk(official.get("encoder", {}), tensors, "encoder", ""),
        **_trunk(official.get("decoder", {}), tensors, "decoder", "decoder_"),
        "codebook_size": codes,
        "code_dim": dim,
        "feature_dim": len(tensors["decode_task_layer.2.weight"]),
        "decay": float(official.get("decay", 0.99)),
        "commitment": float(official.get("beta", 1.0)),
    }


def _trunk(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], part: str, prefix: str
) -> dict[str, Any]:
    """The arguments of one of the two transformers."""
    width = tensors[f"{part}.cls_token"].shape[-1]
    return {
        f"{prefix}width": width,
        f"{prefix}depth": numbered(tensors, f"{part}.blocks."),
        f"{prefix}heads": heads_of(width, config.get("num_heads")),
        f"{prefix}mlp_ratio": len(tensors[f"{part}.blocks.0.mlp.fc1.weight"]) / width,
    }


ADAPTER = StateDictAdapter(
    name="beitv2_tokenizer",
    about="the VQ-KD tokenizer of BEiT v2 (github.com/microsoft/unilm, beit2)",
    kind=VqKd,
    arguments=arguments,
    ignored={
        "teacher*": "what only training used: the teacher",
        "scaling*": "what only training used: the rescaling of the teacher's images",
        "loss*": "what only training used",
    },
)
