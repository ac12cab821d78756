"""Official MergeVQ tokenizers (ApexGen-X/MergeVQ): .ckpt files of a LightningModule, with a .yaml configuration.

Number of heads, resolution and keep counts are not in the tensors. Without a configuration heads are 64 wide as
in all releases, images have 256 pixels per side, and the keep count is that of the paper's variant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.sizes import numbered
from mimgen.tokenizers.magvit2.adapter import TRAINING, ddconfig, decoder_sizes, encoder_sizes, section
from mimgen.tokenizers.mergevq import MergeVQ
from mimgen.tokenizers.mergevq.encoder import count_heads

RESOLUTION = 256


def _heads(options: Mapping[str, Any], width: int) -> int:
    """Attention heads of a width, by the official rule; 64 channels each where nobody says."""
    return count_heads(width, options.get("num_heads") or max(1, width // 64), options.get("head_dim"))


def encoder_arguments(options: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of `MergingEncoder`.

    Args:
        options: the official `ddconfig`, maybe empty.
        tensors: the encoder's, by official key.
    """
    width, head = len(tensors["norm_out.weight"]), None
    if "conv_in.0.weight" in tensors:
        patch = tensors["conv_in.0.weight"].shape[-1]
        levels = int(math.log2(patch)) + 1
        sizes = {"channels": width, "multipliers": (1,) * levels, "blocks": 0, "patch_width": width}
    else:
        sizes = encoder_sizes(tensors)
    for kind, last in (("layer2", 3), ("layer3", 4)):
        if (final := tensors.get(f"dist_head.{last}.weight")) is not None:
            head = {"head": kind, "rep_dim": len(final)}
    return {
        **sizes,
        "latent": len(tensors["conv_out.weight"]),
        "layers": numbered(tensors, "attn.blocks."),
        "heads": _heads(options, width),
        "rep_layers": numbered(tensors, "rep_attn.blocks."),
        **(head or {"head": None}),
        "image_channels": tensors.get("conv_in.0.weight", tensors.get("conv_in.weight")).shape[1],  # type: ignore[union-attr]
    }


def decoder_arguments(options: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of `MergingDecoder`, likewise."""
    width, latent = tensors["conv_in.weight"].shape[:2]
    return {
        **decoder_sizes(tensors, options.get("ch")),
        "latent": latent,
        "layers": numbered(tensors, "attn.blocks."),
        "heads": _heads(options, width),
        "image_channels": len(tensors["conv_out.weight"]),
    }


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of `MergeVQ`."""
    options = ddconfig(config)
    inner = encoder_arguments(options, section(tensors, "encoder."))
    # the decoder's convolutional widths are also those of a convolutional encoder
    known = inner["channels"] if "patch_width" not in inner else options.get("ch")
    outer = decoder_arguments({**options, "ch": known}, section(tensors, "decoder."))
    patches = inner.get("patch_width")
    return {
        "resolution": options.get("resolution", RESOLUTION),
        "channels": outer["channels"],
        "multipliers": outer["multipliers"],
        "blocks": outer["blocks"] if patches else inner["blocks"],
        "decoder_blocks": outer["blocks"],
        "bits": inner["latent"],
        "layers": inner["layers"],
        "heads": outer["heads"],
        "encoder_heads": inner["heads"],
        "decoder_layers": outer["layers"],
        "patch_width": patches,
        "head": inner["head"],
        "rep_dim": inner.get("rep_dim", 768),
        "rep_layers": inner["rep_layers"],
        **_keeping(options, outer["multipliers"], bool(patches)),
    }


def candidates(options: Mapping[str, Any]) -> str | None:
    """The official candidates in our words: every name that is not known means that all are alike."""
    if not options.get("cand_distribution"):
        return None
    name, _, number = options["cand_distribution"].partition("-")
    return f"{name if name in ('gaussian', 'exponential') else 'uniform'}-{number}"


def _keeping(options: Mapping[str, Any], multipliers: tuple[int, ...], patches: bool) -> dict[str, Any]:
    """Keep count and candidates of a configuration, or of the paper's variant."""
    full = (options.get("resolution", RESOLUTION) // 2 ** (len(multipliers) - 1)) ** 2
    if "merge_num" in options:
        # second-stage configurations merge nothing and name candidates all the same
        merged = options["merge_num"] or 0
        return {"keep": full - merged, "candidates": candidates(options) if merged else None}
    if patches:
        return {"keep": 64, "candidates": "gaussian-6"}
    return {"keep": 256, "candidates": "gaussian-9"} if full == 1024 else {"keep": 144, "candidates": "gaussian-6"}


ADAPTER = StateDictAdapter(
    name="mergevq",
    about="MergeVQ image tokenizers G, G+R and R with 2^18 codes (ApexGen-X/MergeVQ)",
    kind=MergeVQ,
    arguments=arguments,
    ignored=TRAINING,
)
