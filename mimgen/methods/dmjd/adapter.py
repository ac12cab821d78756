"""Official checkpoints of DMJD's ConViT: encoder alone, or pretrained with both branches.

The folder that is written is one of a `ConvVitEncoder`; what only pretraining needs lies in the subfolders
`decoder` and `visible`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.checkpoints.release import StateDictAdapter
from mimgen.decoders.mae import MaeDecoder
from mimgen.methods.dmjd.branch import VisibleBranch
from mimgen.methods.dmjd.encoder import ConvVitEncoder

# width -> attention heads of the released sizes: base, large
HEADS = {768: 12, 1024: 16}
DECODER_HEADS = {512: 16}
_HEAD = 64  # channels of a head elsewhere

_PLACES = (
    (r"^decoder_", "decoder."),
    (r"^mask_token$", "decoder.mask_token"),
    (r"^proj_embed\.", "visible.projector."),
    (r"^predictor\.", "visible.predictor."),
    (r"^(?!decoder\.|visible\.)", "encoder."),
)


def rename(key: str) -> str:
    """Our name, within `DMJD`, of an official tensor."""
    for old, new in _PLACES:
        key = re.sub(old, new, key)
    return key


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `kind`: those of the encoder and, where they are there, of "decoder" and "visible".

    Args:
        config: the official constructor arguments, maybe empty; only numbers of heads are taken from it.
        tensors: the official weights.
    """
    patches = tuple(tensors[f"patch_embed{stage}.proj.weight"].shape[-1] for stage in (1, 2, 3))
    widths = tuple(len(tensors[f"patch_embed{stage}.proj.weight"]) for stage in (1, 2, 3))
    side = round(tensors["pos_embed"].shape[1] ** 0.5)
    hidden = [len(tensors[f"blocks{stage}.0.mlp.fc1.weight"]) for stage in (1, 2, 3)]
    found = {
        "image_size": side * patches[0] * patches[1] * patches[2],
        "patches": patches,
        "widths": widths,
        "depths": tuple(_depth(tensors, f"blocks{stage}.") for stage in (1, 2, 3)),
        "heads": int(config.get("num_heads") or HEADS.get(widths[2], max(1, widths[2] // _HEAD))),
        "mlp_ratios": tuple(inner / width for inner, width in zip(hidden, widths, strict=True)),
        "qkv_bias": "blocks3.0.attn.qkv.bias" in tensors,
        "channels": tensors["patch_embed1.proj.weight"].shape[1],
    }
    if "decoder_embed.weight" not in tensors:
        return found
    inner = len(tensors["decoder_embed.weight"])
    decoder = {
        "image_size": found["image_size"],
        "patch": patches[0] * patches[1] * patches[2],
        "encoder_width": widths[2],
        "width": inner,
        "depth": _depth(tensors, "decoder_blocks."),
        "heads": int(config.get("decoder_num_heads") or DECODER_HEADS.get(inner, max(1, inner // (_HEAD // 2)))),
        "output": len(tensors["decoder_pred.weight"]),
        "prefix": 0,
        "mlp_ratio": len(tensors["decoder_blocks.0.mlp.fc1.weight"]) / inner,
    }
    visible = {
        "encoder_width": widths[2],
        "width": len(tensors["proj_embed.0.weight"]),
        "output": len(tensors["predictor.0.weight"]),
    }
    return {**found, "decoder": decoder, "visible": visible}


def _depth(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max(int(key.removeprefix(prefix).split(".")[0]) for key in tensors if key.startswith(prefix))


def kind(
    decoder: Mapping[str, Any] | None = None, visible: Mapping[str, Any] | None = None, **options: Any
) -> OfficialModel:
    """The parts that these arguments are of."""
    return OfficialModel(
        ConvVitEncoder(**options),
        decoder=None if decoder is None else MaeDecoder(**decoder),
        visible=None if visible is None else VisibleBranch(**visible),
    )


ADAPTER = StateDictAdapter(
    "dmjd",
    "disjoint masking with joint distillation, pretrained ConViT (Ma et al., 2023; github.com/mx-mark/DMJD)",
    kind,
    arguments,
    rename,
)
