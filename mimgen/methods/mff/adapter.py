"""Checkpoints of MFF in MMPretrain's port: encoder alone, or pretrained with fusion and decoder.

The folder that is written is one of a `VitEncoder`; what only pretraining needs lies in the subfolders
`fusion` and `decoder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap, Reshape
from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.mae import adapter as mae
from mimgen.methods.mff.fusion import LayerFusion

KEYS = KeyMap(
    ("backbone.proj_layers.*", "fusion.proj.*"),
    ("backbone.proj_weights", "fusion.weights"),
    ("backbone.patch_embed.projection.*", "encoder.patch_embed.proj.*"),
    ("backbone.layers.#.ffn.layers.0.0.*", "encoder.blocks.#.mlp.fc1.*"),
    ("backbone.layers.#.ffn.layers.1.*", "encoder.blocks.#.mlp.fc2.*"),
    ("backbone.layers.#.ln#.*", "encoder.blocks.#.norm#.*"),
    ("backbone.layers.#.*", "encoder.blocks.#.*"),
    ("backbone.ln1.*", "encoder.norm.*"),
    ("backbone.*", "encoder.*"),
    ("neck.decoder_blocks.#.ffn.layers.0.0.*", "decoder.blocks.#.mlp.fc1.*"),
    ("neck.decoder_blocks.#.ffn.layers.1.*", "decoder.blocks.#.mlp.fc2.*"),
    ("neck.decoder_blocks.#.ln#.*", "decoder.blocks.#.norm#.*"),
    ("neck.ln1.*", "decoder.norm.*"),
    ("neck.mask_token", "decoder.mask_token"),
    ("neck.decoder_*", "decoder.*"),
)


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the encoder and, where they are there, of "decoder" and "fusion".

    Args:
        config: maybe empty; `num_heads` and `decoder_num_heads` are taken from it.
        tensors: MMPretrain's weights.
    """
    # under MAE's official names, from which the arguments of both networks follow
    found = mae.arguments(config, {mae.KEYS.official(KEYS.ours(key)): value for key, value in tensors.items()})
    weights = tensors.get("backbone.proj_weights")
    return found if weights is None else {**found, "fusion": {"width": found["width"], "layers": len(weights)}}


ADAPTER = StateDictAdapter(
    name="mff",
    about="multi-level feature fusion, pretrained (Liu et al., 2023; github.com/open-mmlab/mmpretrain)",
    kind=VitEncoder,
    parts={"fusion": LayerFusion, "decoder": MaeDecoder},
    arguments=arguments,
    keys=KEYS,
    reshapes=(Reshape("fusion.weights", lambda value: value.flatten(), lambda value: value[:, None, None, None]),),
    ignored={"data_preprocessor.*": "mean and deviation of the channels", "head.*": "the pixel loss has no weights"},
)
