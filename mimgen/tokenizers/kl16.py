"""KL autoencoders in the key layout of latent diffusion, such as MAR's kl16.ckpt, as diffusers' `AutoencoderKL`.

diffusers' own conversion knows no attention beside the convolutions of a level, which this release has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.release import StateDictAdapter
from mimgen.tokenizers.diffusers_models import DiffusersKL

SCALE = 0.2325  # MAR's factor on the latents, close to one over their deviation

# diffusers' names -> the official ones; levels of the decoder are counted from the other end there
NAMES = (
    (r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block."),
    (r"down_blocks\.(\d+)\.attentions\.", r"down.\1.attn."),
    (r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample."),
    (r"up_blocks\.(\d+)\.resnets\.", r"up.\1.block."),
    (r"up_blocks\.(\d+)\.attentions\.", r"up.\1.attn."),
    (r"up_blocks\.(\d+)\.upsamplers\.0\.", r"up.\1.upsample."),
    (r"mid_block\.resnets\.0\.", "mid.block_1."),
    (r"mid_block\.resnets\.1\.", "mid.block_2."),
    (r"mid_block\.attentions\.0\.", "mid.attn_1."),
    (r"conv_norm_out\.", "norm_out."),
    (r"conv_shortcut\.", "nin_shortcut."),
    (r"group_norm\.", "norm."),
    (r"to_([qkv])\.", r"\1."),
    (r"to_out\.0\.", "proj_out."),
)
ATTENTION = re.compile(r"\.attn[._]\d+\.(q|k|v|proj_out)\.weight$")


class LdmKl(DiffusersKL):
    """`DiffusersKL` whose state dict has the official names and shapes: attention as 1x1 convolutions.

    What it saves is diffusers' usual folder.

    Args:
        arguments: of diffusers' `AutoencoderKL`.
    """

    def __init__(self, **arguments: Any) -> None:
        from diffusers import AutoencoderKL

        super().__init__(AutoencoderKL(**arguments))

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """Tensors by official name."""
        named = {self._official(name): value for name, value in self.model.state_dict().items()}
        return {name: value[..., None, None] if _convolved(name) else value for name, value in named.items()}

    def load_state_dict(self, tensors: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Load tensors by official name, strictly."""
        flat = {name: value[..., 0, 0] if _convolved(name) else value for name, value in tensors.items()}
        return self.model.load_state_dict({name: flat[self._official(name)] for name in self.model.state_dict()})

    def _official(self, name: str) -> str:
        levels = len(self.model.config.block_out_channels)
        for ours, official in NAMES:
            name = re.sub(ours, official, name)
        return re.sub(r"\.up\.(\d+)\.", lambda found: f".up.{levels - 1 - int(found[1])}.", name)


def _convolved(name: str) -> bool:
    return ATTENTION.search(name) is not None


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of `AutoencoderKL`, read from the tensors.

    Args:
        config: may have "scaling_factor", the factor on the latents; MAR's where it has none.
        tensors: the official weights.
    """
    channels = tensors["encoder.conv_in.weight"].shape[1]
    levels = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("encoder.down."))
    blocks = 1 + max(int(name.split(".")[4]) for name in tensors if name.startswith("encoder.down.0.block."))
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


def rename(key: str) -> str | None:
    """Everything under its own name, without the training loss."""
    return None if key.startswith("loss.") else key


ADAPTER = StateDictAdapter(
    "kl16",
    "MAR's KL autoencoder kl16.ckpt (Li et al., 2024), or another in the layout of latent diffusion",
    LdmKl,
    arguments,
    rename,
)
