"""Official checkpoints of iBOT (bytedance/ibot): the backbone alone, or with its head.

The folder that is written is one of a `VitEncoder`; where the release has the head, too, it lies in the subfolder
`head`. AttMask's checkpoints have the same form. A head whose class and patch tokens share prototypes is recorded
with both, which stay two here, with equal values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap, Reshape
from mimgen.checkpoints.sizes import grid_side, heads_of, numbered
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.ibot.head import PrototypeHead

MARGIN = 0.1  # with which the official code resizes position tables
# width -> attention heads of the released sizes: tiny, small, base, large
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16}

# without the prefix: names of a backbone that is saved alone
_BACKBONE = (
    ("backbone.masked_embed", "encoder.mask_token"),
    ("backbone.blocks.#.gamma_#", "encoder.blocks.#.ls#.gamma"),
    ("backbone.*", "encoder.*"),
)
_ALONE = tuple((official.removeprefix("backbone."), ours) for official, ours in _BACKBONE)
_ONE_LAYER = (("head.mlp.weight", "head.mlp.0.weight"), ("head.mlp.bias", "head.mlp.0.bias"))


def keys(names: Iterable[str]) -> KeyMap:
    """The names of a backbone alone, or with a head; a head of one layer is that layer itself."""
    found = tuple(names)
    if not any(name.startswith("head.") for name in found):
        return KeyMap(*_ALONE, also=_BACKBONE)
    one = () if any(name.startswith("head.mlp.2.") for name in found) else _ONE_LAYER
    return KeyMap(*one, ("head.*", "head.*"), *_BACKBONE, *_ALONE)


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the encoder and, under "head", those of the head.

    Args:
        config: the arguments of the run, maybe empty; only what tensors do not tell is taken from it: `num_heads`
            and `norm_last_layer`.
        tensors: the official weights.
    """
    known = keys(tensors)
    names = {known.ours(key): value for key, value in tensors.items()}
    width, channels, patch = names["encoder.patch_embed.proj.weight"].shape[:3]
    found = {
        "image_size": grid_side(names["encoder.pos_embed"].shape[1] - 1) * patch,
        "patch": patch,
        "width": width,
        "depth": numbered(names, "encoder.blocks."),
        "heads": heads_of(width, config.get("num_heads"), HEADS),
        "mlp_ratio": len(names["encoder.blocks.0.mlp.fc1.weight"]) / width,
        "qkv_bias": "encoder.blocks.0.attn.qkv.bias" in names,
        "layer_scale": 0.1 if "encoder.blocks.0.ls1.gamma" in names else None,
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


ADAPTER = StateDictAdapter(
    name="ibot",
    about="iBOT and AttMask, backbone alone or with its head (Zhou et al., 2022; github.com/bytedance/ibot)",
    kind=VitEncoder,
    parts={"head": PrototypeHead},
    arguments=arguments,
    keys=keys,
    # ours is one of a sequence, [1, 1, D]; the release's is [1, D]
    reshapes=(Reshape("encoder.mask_token", lambda token: token[None], lambda token: token[0]),),
)
