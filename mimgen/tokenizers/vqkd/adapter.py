"""Official VQ-KD tokenizers of BEiT v2 (microsoft/unilm, beit2): `vqkd_encoder_base_decoder_*.pth`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.release import StateDictAdapter
from mimgen.tokenizers.vqkd.model import VqKd

# what only training used: the teacher, the rescaling of its images, losses
LEFT_OUT = ("loss", "teacher", "scaling")
HEAD = 64  # channels of an attention head in every released model


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of `VqKd`.

    Args:
        config: the official constructor arguments (with `n_embed`); the released files hold those of the
            run instead, from which nothing is taken: sizes follow from the tensors.
        tensors: the official weights.
    """
    official = config if "n_embed" in config else {}
    side = round((tensors["encoder.pos_embed"].shape[1] - 1) ** 0.5)
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


def rename(key: str) -> str | None:
    """Our key is the official one; what only training used is left out."""
    return None if key.startswith(LEFT_OUT) else key


def _trunk(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], part: str, prefix: str
) -> dict[str, Any]:
    """The arguments of one of the two transformers."""
    width = tensors[f"{part}.cls_token"].shape[-1]
    blocks = {int(key.split(".")[2]) for key in tensors if key.startswith(f"{part}.blocks.")}
    return {
        f"{prefix}width": width,
        f"{prefix}depth": max(blocks) + 1,
        f"{prefix}heads": int(config.get("num_heads", max(1, width // HEAD))),
        f"{prefix}mlp_ratio": len(tensors[f"{part}.blocks.0.mlp.fc1.weight"]) / width,
    }


ADAPTER = StateDictAdapter(
    "beitv2_tokenizer",
    "the VQ-KD tokenizer of BEiT v2 (github.com/microsoft/unilm, beit2)",
    VqKd,
    arguments,
    rename,
)
