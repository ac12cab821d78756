"""Official LlamaGen tokenizers: vq_ds16_c2i.pt, vq_ds16_t2i.pt, vq_ds8_c2i.pt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.sizes import numbered
from mimgen.tokenizers.llamagen.model import LlamaGenVQ


def _widths(tensors: Mapping[str, Tensor], part: str) -> list[int]:
    """Width of each level in the order of the file."""
    levels = numbered(tensors, f"{part}.conv_blocks.")
    return [len(tensors[f"{part}.conv_blocks.{level}.res.0.conv1.weight"]) for level in range(levels)]


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of `LlamaGenVQ`: VQ-8 and VQ-16 tell themselves apart by their tensors.

    Args:
        config: the official model arguments, maybe empty; only those that leave no trace in tensors count.
        tensors: the official weights.
    """
    channels = len(tensors["encoder.conv_in.weight"])
    encoder, decoder = _widths(tensors, "encoder"), _widths(tensors, "decoder")[::-1]
    codes, width = tensors["quantize.embedding.weight"].shape
    used = tensors.get("quantize.codebook_used")
    return {
        "channels": channels,
        "multipliers": tuple(size // channels for size in encoder),
        "decoder_multipliers": tuple(size // channels for size in decoder),
        "blocks": numbered(tensors, "encoder.conv_blocks.0.res."),
        "z_channels": len(tensors["encoder.conv_out.weight"]),
        "codebook_size": codes,
        "code_dim": width,
        "cosine": bool(config.get("codebook_l2_norm", True)),
        "commitment": float(config.get("commit_loss_beta", 0.25)),
        "entropy": float(config.get("entropy_loss_ratio", 0.0)),
        "usage_window": 0 if used is None else len(used),
    }


ADAPTER = StateDictAdapter(
    name="llamagen",
    about="LlamaGen image tokenizers VQ-16 and VQ-8 (Sun et al., 2024; github.com/FoundationVision/LlamaGen)",
    kind=LlamaGenVQ,
    arguments=arguments,
)
