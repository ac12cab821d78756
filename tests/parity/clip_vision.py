"""OpenAI's names of CLIP's vision tower to those of transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.pretrained import load_strictly

_PLACES = (
    (r"^class_embedding$", "embeddings.class_embedding"),
    (r"^conv1\.", "embeddings.patch_embedding."),
    (r"^positional_embedding$", "embeddings.position_embedding.weight"),
    (r"^ln_pre\.", "pre_layrnorm."),
    (r"^ln_post\.", "post_layernorm."),
    (r"^transformer\.resblocks\.", "encoder.layers."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
    (r"\.ln_(\d)\.", r".layer_norm\1."),
    (r"\.c_fc\.", ".fc1."),
    (r"\.c_proj\.", ".fc2."),
)


def vision_tower(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[Any, Tensor]:
    """CLIP's vision tower in evaluation mode, and its projection [E, D] into the space it shares with text.

    Args:
        config: official constructor arguments: input_resolution, patch_size, width, layers, heads.
        tensors: official weights of the tower.

    Raises:
        UserError: tensors that do not fit.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModel

    width = int(config["width"])
    model = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=len(tensors["transformer.resblocks.0.mlp.c_fc.weight"]),
            num_hidden_layers=int(config["layers"]),
            num_attention_heads=int(config["heads"]),
            image_size=int(config["input_resolution"]),
            patch_size=int(config["patch_size"]),
            num_channels=tensors["conv1.weight"].shape[1],
        )
    )
    inner = getattr(model, "vision_model", model)
    named: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if key != "proj":
            named |= _renamed(key, value)
    load_strictly(inner, named, "CLIP's vision tower")
    return model.eval(), tensors["proj"].T.contiguous()


def _renamed(key: str, value: Tensor) -> dict[str, Tensor]:
    """One official tensor under transformers' name; the joint projection becomes three."""
    for old, new in _PLACES:
        key = re.sub(old, new, key)
    if ".attn.in_proj_" not in key:
        return {key: value}
    block, kind = key.split(".attn.in_proj_")
    parts = zip("qkv", value.chunk(3), strict=True)
    return {f"{block}.self_attn.{letter}_proj.{kind}": part for letter, part in parts}
