"""Official checkpoints of DMJD's ConViT: encoder alone, or pretrained with both branches.

The folder that is written is one of a `ConvVitEncoder`; what only pretraining needs lies in the subfolders
`decoder` and `visible`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap
from mimgen.checkpoints.sizes import grid_side, heads_of, numbered
from mimgen.decoders.mae import MaeDecoder
from mimgen.methods.dmjd.branch import VisibleBranch
from mimgen.methods.dmjd.encoder import ConvVitEncoder
from mimgen.methods.mae import adapter as mae

KEYS = KeyMap(
    ("mask_token", "decoder.mask_token"),
    ("decoder_*", "decoder.*"),
    ("proj_embed.*", "visible.projector.*"),
    ("predictor.*", "visible.predictor.*"),
    ("*", "encoder.*"),
)


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the encoder and, where they are there, of "decoder" and "visible".

    Args:
        config: the official constructor arguments, maybe empty; only numbers of heads are taken from it.
        tensors: the official weights.
    """
    patches = tuple(tensors[f"patch_embed{stage}.proj.weight"].shape[-1] for stage in (1, 2, 3))
    widths = tuple(len(tensors[f"patch_embed{stage}.proj.weight"]) for stage in (1, 2, 3))
    side = grid_side(tensors["pos_embed"].shape[1])
    hidden = [len(tensors[f"blocks{stage}.0.mlp.fc1.weight"]) for stage in (1, 2, 3)]
    found = {
        "image_size": side * patches[0] * patches[1] * patches[2],
        "patches": patches,
        "widths": widths,
        "depths": tuple(numbered(tensors, f"blocks{stage}.") for stage in (1, 2, 3)),
        "heads": heads_of(widths[2], config.get("num_heads"), mae.HEADS),
        "mlp_ratios": tuple(inner / width for inner, width in zip(hidden, widths, strict=True)),
        "qkv_bias": "blocks3.0.attn.qkv.bias" in tensors,
        "channels": tensors["patch_embed1.proj.weight"].shape[1],
    }
    if "decoder_embed.weight" not in tensors:
        return found
    patch = patches[0] * patches[1] * patches[2]
    decoder = mae.decoder_arguments(config, tensors, {**found, "patch": patch, "width": widths[2]})
    visible = {
        "encoder_width": widths[2],
        "width": len(tensors["proj_embed.0.weight"]),
        "output": len(tensors["predictor.0.weight"]),
    }
    return {**found, "decoder": {**decoder, "prefix": 0}, "visible": visible}


ADAPTER = StateDictAdapter(
    name="dmjd",
    about="disjoint masking with joint distillation, pretrained ConViT (Ma et al., 2023; github.com/mx-mark/DMJD)",
    kind=ConvVitEncoder,
    parts={"decoder": MaeDecoder, "visible": VisibleBranch},
    arguments=arguments,
    keys=KEYS,
)
