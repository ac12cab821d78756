"""Checkpoints of MFF in MMPretrain's port: encoder alone, or pretrained with fusion and decoder.

The folder that is written is one of a `VitEncoder`; what only pretraining needs lies in the subfolders
`fusion` and `decoder`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.checkpoints.release import StateDictAdapter
from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.mae import adapter as mae
from mimgen.methods.mff.fusion import LayerFusion

_PLACES = (
    (r"^backbone\.proj_layers\.", "fusion.proj."),
    (r"^backbone\.proj_weights$", "fusion.weights"),
    (r"^backbone\.", "encoder."),
    (r"^neck\.(?:decoder_)?", "decoder."),
    (r"^(encoder\.)patch_embed\.projection\.", r"\1patch_embed.proj."),
    (r"^(encoder\.)layers\.", r"\1blocks."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
    (r"(blocks\.\d+\.)ln", r"\1norm"),
    (r"^(encoder|decoder)\.ln1\.", r"\1.norm."),
)


def rename(key: str) -> str:
    """Our name, within `MFF`, of a tensor of MMPretrain's MFF."""
    for old, new in _PLACES:
        key = re.sub(old, new, key)
    return key


def _kept(key: str) -> str | None:
    return None if key.startswith(("data_preprocessor.", "head.")) else rename(key)


def reshape(key: str, value: Tensor) -> Tensor:
    """Our tensor of this name: the weights of the fusion are [K] here, [K, 1, 1, 1] there."""
    return value.flatten() if key == "fusion.weights" else value


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `kind`: those of the encoder and, where they are there, of "decoder" and "fusion".

    Args:
        config: maybe empty; `num_heads` and `decoder_num_heads` are taken from it.
        tensors: MMPretrain's weights.
    """
    named = {rename(key): value for key, value in tensors.items()}
    # MAE's official names, from which the arguments of both networks follow
    plain = {re.sub(r"^decoder\.", "decoder_", key.removeprefix("encoder.")): value for key, value in named.items()}
    found = mae.arguments(config, plain)
    layers = plain.get("fusion.weights")
    return found if layers is None else {**found, "fusion": {"width": found["width"], "layers": len(layers)}}


def kind(
    fusion: Mapping[str, Any] | None = None, decoder: Mapping[str, Any] | None = None, **options: Any
) -> OfficialModel:
    """The parts that these arguments are of."""
    return OfficialModel(
        VitEncoder(**options),
        fusion=None if fusion is None else LayerFusion(**fusion),
        decoder=None if decoder is None else MaeDecoder(**decoder),
    )


ADAPTER = StateDictAdapter(
    "mff",
    "multi-level feature fusion, pretrained (Liu et al., 2023; github.com/open-mmlab/mmpretrain)",
    kind,
    arguments,
    _kept,
    reshape=reshape,
)
