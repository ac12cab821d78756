"""Official Open-MAGVIT2 tokenizers (TencentARC): .ckpt files of a LightningModule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.sizes import numbered
from mimgen.tokenizers.magvit2.model import OpenMagvit2

# what a training checkpoint holds besides the tokenizer -> why it is left out
TRAINING = {
    "quantize.*": "constant tables of the quantiser",
    **dict.fromkeys(("loss.*", "discriminator.*", "perceptual_loss.*"), "losses with their networks"),
    "model_ema.*": "counters of the moving average",
    **dict.fromkeys(("teacher.*", "teacher_model.*", "dino.*"), "the frozen network that features are aligned to"),
}


def section(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def ddconfig(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry "ddconfig" of an official configuration, however deep it lies; empty where there is none."""
    if isinstance(config.get("ddconfig"), Mapping):
        return config["ddconfig"]
    found = (ddconfig(value) for value in config.values() if isinstance(value, Mapping))
    return next((inner for inner in found if inner), {})


def encoder_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Channels, multipliers and blocks of a convolutional encoder, from its tensors."""
    channels, levels = len(tensors["conv_in.weight"]), 1
    while f"down.{levels - 1}.downsample.weight" in tensors:
        levels += 1
    widths = [len(tensors[f"down.{i}.downsample.weight"]) for i in range(levels - 1)]
    widths.append(len(tensors["norm_out.weight"]))
    return {
        "channels": channels,
        "multipliers": tuple(width // channels for width in widths),
        "blocks": tuple(numbered(tensors, f"down.{i}.block.") for i in range(levels)),
    }


def decoder_sizes(tensors: Mapping[str, Tensor], channels: int | None = None) -> dict[str, Any]:
    """Channels, multipliers and blocks of a decoder, from its tensors; `channels` where they are known."""
    levels = numbered(tensors, "adaptive.")
    widths = [len(tensors["norm_out.weight"])]
    widths += [tensors[f"up.{i}.upsample.conv1.weight"].shape[1] for i in range(1, levels)]
    # without another word the finest level is one unit wide
    channels = channels or widths[0]
    return {
        "channels": channels,
        "multipliers": tuple(width // channels for width in widths),
        "blocks": tuple(numbered(tensors, f"up.{i}.block.") for i in range(levels)),
    }


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of `OpenMagvit2`; everything follows from the tensors."""
    encoder = section(tensors, "encoder.")
    return {**encoder_sizes(encoder), "bits": len(encoder["conv_out.weight"])}


ADAPTER = StateDictAdapter(
    name="open_magvit2",
    about="Open-MAGVIT2 image tokenizers with 2^18 codes (TencentARC/Open-MAGVIT2, SEED-Voken)",
    kind=OpenMagvit2,
    arguments=arguments,
    ignored=TRAINING,
)
