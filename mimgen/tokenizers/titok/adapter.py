"""Official TiTok releases (bytedance): folders of config.json or config.yaml and weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.sizes import grid_side, heads_of, numbered
from mimgen.tokenizers.titok import TiTok, TiTokLegacy, TiTokProxy

HEADS = {"small": 8, "base": 12, "large": 16}


def _trunk(tensors: Mapping[str, Tensor], part: str, heads: int | None) -> tuple[int, int, int]:
    """Width, depth and heads of the encoder or the decoder; heads of 64 channels where nobody says."""
    width = tensors[f"{part}.class_embedding"].shape[1]
    depth = numbered(tensors, f"{part}.transformer.")
    return width, depth, heads_of(width, heads)


def arguments(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], heads: Mapping[str, int] = HEADS
) -> dict[str, Any]:
    """Constructor arguments of `TiTok`, or of `TiTokProxy` and `TiTokLegacy` ("classes" is among them).

    Args:
        config: the official configuration, maybe empty; what it does not say follows from the tensors.
        tensors: the official weights.
        heads: attention heads of each named size.
    """
    model: Mapping[str, Any] = config.get("model", config).get("vq_model", {})
    patch = tensors["encoder.patch_embed.weight"].shape[-1]
    side = grid_side(len(tensors["encoder.positional_embedding"]) - 1)  # less the class token's
    decoder_side = grid_side(len(tensors["decoder.positional_embedding"]) - 1)
    tokens, latent = len(tensors["latent_tokens"]), tensors["decoder.decoder_embed.weight"].shape[1]
    proxy = "decoder.ffn.2.weight" in tensors
    options: dict[str, Any] = {
        "image_size": side * patch,
        "tokens": tokens,
        "patch": patch,
        "encoder": _trunk(tensors, "encoder", heads.get(model.get("vit_enc_model_size", ""))),
        "decoder": _trunk(tensors, "decoder", heads.get(model.get("vit_dec_model_size", ""))),
        "token_size": latent,
        "cosine": bool(model.get("use_l2_norm", True)),
        "commitment": float(model.get("commitment_cost", 0.25)),
        "reshaped": bool(model.get("is_legacy", proxy)),
    }
    if "quantize.embedding.weight" in tensors:
        options["codebook_size"] = len(tensors["quantize.embedding.weight"])
    else:
        options["quantizer"] = "kl"
    if proxy:
        options["classes"] = len(tensors["decoder.ffn.2.weight"])
    if "pixel_decoder.conv_in.weight" in tensors:
        return {**options, **_pixel_arguments(tensors)}
    return {**options, "decoder_patch": side * patch // decoder_side}


def _pixel_arguments(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sizes of the VQGAN decoder of a release that holds one."""
    levels = numbered(tensors, "pixel_decoder.up.")
    widths = [len(tensors[f"pixel_decoder.up.{level}.block.0.conv1.weight"]) for level in range(levels)]
    blocks = numbered(tensors, "pixel_decoder.mid.")
    return {
        "pixel_width": tensors["pixel_decoder.conv_in.weight"].shape[1],
        "pixel_channels": widths[0],
        "pixel_multipliers": tuple(width // widths[0] for width in widths),
        "pixel_blocks": blocks,
    }


ADAPTER = StateDictAdapter(
    name="titok",
    about="TiTok image tokenizers (Yu et al., 2024; github.com/bytedance/1d-tokenizer)",
    # codes with the decoder that paints them, codes alone, or pixels
    kind={"pixel_decoder.conv_in.weight": TiTokLegacy, "decoder.ffn.2.weight": TiTokProxy, "": TiTok},
    arguments=arguments,
)
