"""Official checkpoints of iBOT (bytedance/ibot): the backbone alone, or with its head.

The folder that is written is one of a `VitEncoder`; where the release has the head, too, it lies in the subfolder
`head`. AttMask's checkpoints have the same form. A head whose class and patch tokens share prototypes is recorded
with both, which stay two here, with equal values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.checkpoints.release import StateDictAdapter
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.ibot.head import PrototypeHead

MARGIN = 0.1  # with which the official code resizes position tables
# width -> attention heads of the released sizes: tiny, small, base, large
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16}
_HEAD = 64  # channels of a head elsewhere

_PLACES = (
    (r"^backbone\.", ""),
    (r"^masked_embed$", "mask_token"),
    (r"\.gamma_(\d)$", r".ls\1.gamma"),
)


def rename(key: str) -> str:
    """Our name of an official tensor, those of a backbone saved alone included."""
    if key.startswith("head."):
        # a head of one layer is that layer itself
        return re.sub(r"^head\.mlp\.(weight|bias)$", r"head.mlp.0.\1", key)
    for old, new in _PLACES:
        key = re.sub(old, new, key)
    return f"encoder.{key}"


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `kind`: those of the encoder and, under "head", those of the head.

    Args:
        config: the arguments of the run, maybe empty; only what tensors do not predict is taken from it:
            `num_heads` and `norm_last_layer`.
        tensors: the official weights.
    """
    names = {rename(key): value for key, value in tensors.items()}
    width, channels, patch = names["encoder.patch_embed.proj.weight"].shape[:3]
    side = round((names["encoder.pos_embed"].shape[1] - 1) ** 0.5)
    scale = names.get("encoder.blocks.0.ls1.gamma")
    found = {
        "image_size": side * patch,
        "patch": patch,
        "width": width,
        "depth": 1 + max(int(name.split(".")[2]) for name in names if name.startswith("encoder.blocks.")),
        "heads": int(config.get("num_heads") or HEADS.get(width, max(1, width // _HEAD))),
        "mlp_ratio": len(names["encoder.blocks.0.mlp.fc1.weight"]) / width,
        "qkv_bias": "encoder.blocks.0.attn.qkv.bias" in names,
        "layer_scale": None if scale is None else 0.1,
        "mask_token": "replace" if "encoder.mask_token" in names else None,
        "mask_token_std": 0.0,
        "position_margin": MARGIN,
        "channels": channels,
    }
    if "head.last_layer.weight_v" not in names:
        return found
    layers = sorted(name for name in names if name.startswith("head.mlp.") and name.endswith("weight"))
    prototypes, bottleneck = names["head.last_layer.weight_v"].shape
    own = names.get("head.last_layer2.weight_v")
    head = {
        "width": width,
        "prototypes": prototypes,
        "patch_prototypes": None if own is None else len(own),
        "hidden": len(names[layers[0]]),
        "bottleneck": bottleneck,
        "layers": len(layers),
        "fixed_gain": bool(config.get("norm_last_layer", True)),
    }
    return {**found, "head": head}


def reshape(key: str, value: Tensor) -> Tensor:
    """The mask token as one of a sequence: [1, D] to [1, 1, D]."""
    return value.unsqueeze(0) if key == "encoder.mask_token" else value


def kind(head: Mapping[str, Any] | None = None, **options: Any) -> OfficialModel:
    """The parts that these arguments are of."""
    return OfficialModel(VitEncoder(**options), head=None if head is None else PrototypeHead(**head))


ADAPTER = StateDictAdapter(
    "ibot",
    "iBOT and AttMask, backbone alone or with its head (Zhou et al., 2022; github.com/bytedance/ibot)",
    kind,
    arguments,
    rename,
    reshape=reshape,
)
