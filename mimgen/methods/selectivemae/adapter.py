"""Official SelectiveMAE checkpoints (MiliLab/SelectiveMAE): encoder alone or with its decoder.

The folder that is written is one of a `VitEncoder`; the decoder lies in its subfolder `decoder`. Weights that the
official network holds but never uses are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.checkpoints.release import StateDictAdapter
from mimgen.decoders.cross_attention import SubsetDecoder
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.mae.adapter import DECODER_HEADS
from mimgen.methods.mae.adapter import arguments as encoder_arguments
from mimgen.methods.mae.adapter import rename as mae_name

UNUSED = ("pos_embed_probs", "get_token_probs", "decoder_embed1.", "hog.")
# official norms are counted from the first branch there is: 0 self-attention, 1 cross-attention, 2 MLP
_NORMS = {"norm0": "norm1", "norm1": "norm2", "norm2": "norm3", "self_attn": "attn"}


def rename(key: str) -> str | None:
    """Our name of an official tensor; None for one that is never used."""
    return None if key.startswith(UNUSED) else name_of(key)


def name_of(key: str) -> str:
    """Our name of an official tensor that is used."""
    name = mae_name(key)
    if not name.startswith("decoder.blocks."):
        return name
    parts = name.split(".")
    parts[3] = _NORMS.get(parts[3], parts[3])
    return ".".join(parts)


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `kind`: those of the encoder and, under "decoder", those of the decoder.

    Args:
        config: the official constructor arguments, maybe empty; numbers of heads are taken from it where told.
        tensors: the official weights.
    """
    found = encoder_arguments(config, tensors)
    if "decoder_pred.weight" not in tensors:
        return found
    inner = tensors["decoder_pred.weight"].shape[1]
    heads = config.get("decoder_num_heads") or DECODER_HEADS.get(inner, max(1, inner // 32))
    depth = 1 + max(int(key.split(".")[1]) for key in tensors if key.startswith("decoder_blocks."))
    decoder = {
        "image_size": found["image_size"],
        "patch": found["patch"],
        "encoder_width": found["width"],
        "width": inner,
        "depth": depth,
        "heads": int(heads),
        "output": len(tensors["decoder_pred.weight"]),
        "self_attention": "decoder_blocks.0.norm0.weight" in tensors,
        "mlp_ratio": len(tensors["decoder_blocks.0.mlp.fc1.weight"]) / inner,
    }
    return {**found, "decoder": decoder}


def kind(decoder: Mapping[str, Any] | None = None, **options: Any) -> OfficialModel:
    """The parts that these arguments are of."""
    return OfficialModel(VitEncoder(**options), decoder=None if decoder is None else SubsetDecoder(**decoder))


ADAPTER = StateDictAdapter(
    "selectivemae",
    "SelectiveMAE of satellite images (Wang et al., 2025; github.com/MiliLab/SelectiveMAE)",
    kind,
    arguments,
    rename,
)
