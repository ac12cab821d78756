"""KL autoencoders in the key layout of latent diffusion, such as MAR's kl16.ckpt, as diffusers' `AutoencoderKL`.

diffusers' own conversion knows no attention beside the convolutions of a level, which this release has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap, Reshape
from mimgen.checkpoints.sizes import numbered
from mimgen.tokenizers.diffusers_models import DiffusersKL

SCALE = 0.2325  # MAR's factor on the latents, close to one over their deviation

_BOTH = (  # below "encoder." or "decoder.", official and diffusers'
    ("mid.block_1.", "mid_block.resnets.0."),
    ("mid.block_2.", "mid_block.resnets.1."),
    ("mid.attn_1.", "mid_block.attentions.0."),
)
_RESNET = (("nin_shortcut.*", "conv_shortcut.*"), ("*", "*"))
_ATTENTION = (
    ("norm.*", "group_norm.*"), ("q.*", "to_q.*"), ("k.*", "to_k.*"), ("v.*", "to_v.*"), ("proj_out.*", "to_out.0.*"),
)  # fmt: skip


def keys(names: Iterable[str]) -> KeyMap:
    """Names of as many levels as there are; those of the decoder are counted from the other end in the release."""
    found = tuple(names)
    levels = max(numbered(found, "encoder.down."), numbered(found, "model.encoder.down_blocks."))
    places = [(f"{side}.{one}", f"model.{side}.{other}") for side in ("encoder", "decoder") for one, other in _BOTH]
    down = [(f"encoder.down.{level}", f"model.encoder.down_blocks.{level}") for level in range(levels)]
    up = [(f"decoder.up.{levels - 1 - level}", f"model.decoder.up_blocks.{level}") for level in range(levels)]
    for official, ours in down + up:
        sampler = "downsample" if ".down_" in ours else "upsample"
        places += [
            (f"{official}.block.#.", f"{ours}.resnets.#."),
            (f"{official}.attn.#.", f"{ours}.attentions.#."),
            (f"{official}.{sampler}.", f"{ours}.{sampler}rs.0."),
        ]
    pairs = [
        (one + inner, other + name)
        for one, other in places
        for inner, name in (_ATTENTION if ".attn" in one else _RESNET)
    ]
    ends = [(f"{side}.norm_out.*", f"model.{side}.conv_norm_out.*") for side in ("encoder", "decoder")]
    return KeyMap(*pairs, *ends, ("*", "model.*"))


def _autoencoder(**arguments: Any) -> DiffusersKL:
    from diffusers import AutoencoderKL

    return DiffusersKL(AutoencoderKL(**arguments))


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of `AutoencoderKL`, read from the tensors.

    Args:
        config: may have "scaling_factor", the factor on the latents; MAR's where it has none.
        tensors: the official weights.
    """
    channels = tensors["encoder.conv_in.weight"].shape[1]
    levels = numbered(tensors, "encoder.down.")
    blocks = numbered(tensors, "encoder.down.0.block.")
    attends = [
        tuple(f"{part}.{level}.attn.0.norm.weight" in tensors for level in range(levels))
        for part in ("encoder.down", "decoder.up")
    ]
    return {
        "in_channels": channels,
        "out_channels": len(tensors["decoder.conv_out.weight"]),
        "block_out_channels": tuple(
            len(tensors[f"encoder.down.{level}.block.0.conv1.weight"]) for level in range(levels)
        ),
        "down_block_types": tuple(f"{'Attn' * attn}DownEncoderBlock2D" for attn in attends[0]),
        "up_block_types": tuple(f"{'Attn' * attn}UpDecoderBlock2D" for attn in reversed(attends[1])),
        "layers_per_block": blocks,
        "latent_channels": tensors["decoder.conv_in.weight"].shape[1],
        "use_quant_conv": "quant_conv.weight" in tensors,
        "use_post_quant_conv": "post_quant_conv.weight" in tensors,
        "mid_block_add_attention": "encoder.mid.attn_1.norm.weight" in tensors,
        "scaling_factor": float(config.get("scaling_factor", SCALE)),
    }


ADAPTER = StateDictAdapter(
    name="kl16",
    about="MAR's KL autoencoder kl16.ckpt (Li et al., 2024), or another in the layout of latent diffusion",
    kind=_autoencoder,
    makes=DiffusersKL,
    arguments=arguments,
    keys=keys,
    # attention is a 1x1 convolution in the release
    reshapes=tuple(
        Reshape(f"*.attentions.#.to_{name}.weight", lambda conv: conv[..., 0, 0], lambda flat: flat[..., None, None])
        for name in ("q", "k", "v", "out.0")
    ),
    ignored={"loss.*": "the discriminator and the perceptual network of training"},
)
