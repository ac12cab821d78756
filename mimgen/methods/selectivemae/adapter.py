"""Official SelectiveMAE checkpoints (MiliLab/SelectiveMAE): encoder alone or with its decoder.

The folder that is written is one of a `VitEncoder`; the decoder lies in its subfolder `decoder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.mae import adapter as mae
from mimgen.methods.selectivemae.decoder import SubsetDecoder

UNUSED = "the official network holds it and never uses it"

KEYS = KeyMap(
    ("mask_token", "decoder.mask_token"),
    # official norms are counted from the first branch there is: 0 self-attention, 1 cross-attention, 2 MLP
    ("decoder_blocks.#.norm0.*", "decoder.blocks.#.norm1.*"),
    ("decoder_blocks.#.norm1.*", "decoder.blocks.#.norm2.*"),
    ("decoder_blocks.#.norm2.*", "decoder.blocks.#.norm3.*"),
    ("decoder_blocks.#.self_attn.*", "decoder.blocks.#.attn.*"),
    ("decoder_*", "decoder.*"),
    ("*", "encoder.*"),
)


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the encoder and, under "decoder", those of the decoder, as MAE's."""
    found = mae.encoder_arguments(config, tensors)
    if "decoder_pred.weight" not in tensors:
        return found
    decoder = mae.decoder_arguments(config, tensors, found)
    return {**found, "decoder": {**decoder, "self_attention": "decoder_blocks.0.norm0.weight" in tensors}}


ADAPTER = StateDictAdapter(
    name="selectivemae",
    about="SelectiveMAE of satellite images (Wang et al., 2025; github.com/MiliLab/SelectiveMAE)",
    kind=VitEncoder,
    parts={"decoder": SubsetDecoder},
    arguments=arguments,
    keys=KEYS,
    ignored=dict.fromkeys(("pos_embed_probs", "get_token_probs*", "decoder_embed1.*", "hog.*"), UNUSED),
)
