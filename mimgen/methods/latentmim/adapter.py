"""Official LatentMIM checkpoints (yibingwei-1/LatentMIM): the online encoder, with its decoder.

The folder that is written is one of a `LatentVit`; the decoder lies in its subfolder `decoder`. The slow copy of
the encoder is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap, Reshape
from mimgen.checkpoints.sizes import grid_side, heads_of, numbered
from mimgen.methods.latentmim.networks import LatentDecoder, LatentVit
from mimgen.methods.mae.adapter import DECODER_HEAD, DECODER_HEADS, HEADS

KEYS = KeyMap(
    ("encoder.embed.proj.*", "encoder.patch_embed.proj.*"),
    ("encoder.head.linear#.*", "encoder.projector.linears.#.*"),
    ("encoder.head.norm#.*", "encoder.projector.norms.#.*"),
    ("encoder.pos_embed.pos_embeds", "encoder.pos_embed"),
    ("decoder.pos_embed.pos_embeds", "decoder.pos_embed"),
    ("decoder.head.*", "decoder.pred.*"),
    ("decoder.blocks.#.self_attn.*", "decoder.blocks.#.attn.*"),
    ("decoder.blocks.#.norm2q.*", "decoder.blocks.#.norm2.*"),
    ("decoder.blocks.#.norm2kv.*", "decoder.blocks.#.norm_memory.*"),
    ("decoder.blocks.#.cross_attn.q_proj.*", "decoder.blocks.#.cross_attn.q.*"),
    ("decoder.blocks.#.cross_attn.kv_proj.*", "decoder.blocks.#.cross_attn.kv.*"),
)


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the encoder and, under "decoder", those of the decoder.

    Args:
        config: the official constructor arguments, maybe empty. Sizes follow from the tensors; numbers of heads and
            whether the weighted mean is asked with are taken from here where it has them.
        tensors: the official weights.
    """
    width, numbers = tensors["encoder.embed.proj.weight"].shape
    patch, positions = round((numbers / 3) ** 0.5), len(tensors["encoder.pos_embed.pos_embeds"]) - 1
    shared = {"image_size": grid_side(positions) * patch, "patch": patch}
    layers = [key for key in tensors if key.startswith("encoder.head.linear")]
    encoder = {
        **shared,
        "width": width,
        "depth": numbered(tensors, "encoder.blocks."),
        "heads": heads_of(width, config.get("num_heads"), HEADS),
        "mlp_ratio": len(tensors["encoder.blocks.0.mlp.fc1.weight"]) / width,
        "head_width": len(tensors["encoder.head.linear0.weight"]) if layers else 0,
        "head_depth": len(layers),
    }
    if "decoder.embed.weight" not in tensors:
        return encoder
    inner = len(tensors["decoder.embed.weight"])
    decoder = {
        **shared,
        "encoder_width": width,
        "width": inner,
        "depth": numbered(tensors, "decoder.blocks."),
        "heads": heads_of(inner, config.get("decoder_num_heads"), DECODER_HEADS, DECODER_HEAD),
        "mlp_ratio": len(tensors["decoder.blocks.0.mlp.fc1.weight"]) / inner,
        "averaged": bool(config.get("avg_vis_mask_token", True)),
    }
    return {**encoder, "decoder": decoder}


ADAPTER = StateDictAdapter(
    name="latentmim",
    about="LatentMIM, encoder and decoder (Wei et al., 2024; github.com/yibingwei-1/LatentMIM)",
    kind=LatentVit,
    parts={"decoder": LatentDecoder},
    arguments=arguments,
    keys=KEYS,
    # our position tables [1, N, D] have a batch dimension
    reshapes=(Reshape("*.pos_embed", lambda table: table[None], lambda table: table[0]),),
    ignored={"target_encoder.*": "a moving average of the encoder"},
)
