"""Official checkpoints of LocalMIM: encoder alone, with decoders, or fine-tuned.

The folder that is written is one of a `VitEncoder`; decoders lie in its subfolders `decoders_0` (the finest
scale) to `decoders_3`. Pretrained networks have norms of the taps only: the encoder gets a fresh last norm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mimgen.checkpoints.official import OfficialModel
from mimgen.checkpoints.release import StateDictAdapter
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.localmim.decoders import SCALES, LocalDecoder
from mimgen.methods.mae import adapter as mae

DECODER_HEADS = {256: 8}
_EPS = 1e-6

_PLACES = (
    (r"^decoder\.(\d+)\.pred\.", r"decoders.\1.cells."),
    (r"^decoder\.(\d+)\.", r"decoders.\1."),
    (r"^norm\.(\d+)\.", r"decoders.\1.tap_norm."),
    (r"^hog_enc\.(\d+)\.conv\.bias$", r"targets.\1.offset"),
    (r"^(?!decoders\.|targets\.)", "encoder."),
)


class OfficialLocalMIM(OfficialModel):
    """The parts of LocalMIM.

    Args:
        encoder: of a pretrained network without its last norm, unless `normed`.
        decoders: from the finest scale; empty where the release has none.
        normed: whether the release has a norm after the last block.
    """

    def __init__(self, encoder: VitEncoder, decoders: list[LocalDecoder], normed: bool) -> None:
        super().__init__(encoder, decoders=list(decoders))
        self.normed = normed
        if not normed:
            encoder.norm = nn.Identity()  # type: ignore[assignment]

    def save_pretrained(self, folder: Path) -> None:
        """Write the encoder to `folder`, with a fresh last norm where it has none, and decoders to subfolders."""
        assert isinstance(self.encoder, VitEncoder)
        if not self.normed:
            self.encoder.norm = nn.LayerNorm(self.encoder.dim, _EPS)
        super().save_pretrained(folder)


def rename(key: str) -> str | None:
    """Our name, within `LocalMIM`, of an official tensor; None for the fixed filter of the gradients."""
    if re.match(r"hog_enc\.\d+\.conv\.weight$", key):
        return None
    for old, new in _PLACES:
        key = re.sub(old, new, key)
    return key


def _kept(key: str) -> str | None:
    """The same of what a converted folder holds: targets are built anew."""
    name = rename(key)
    return None if name is None or name.startswith("targets.") else name


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `kind`: those of the encoder, a list of those of the decoders, and whether there is a last norm.

    Args:
        config: the official constructor arguments, maybe empty; only numbers of heads are taken from it.
        tensors: the official weights.
    """
    found = mae.arguments(config, tensors)
    decoders: list[dict[str, Any]] = []
    while f"decoder.{len(decoders)}.embed.weight" in tensors:
        head = f"decoder.{len(decoders)}."
        width = len(tensors[f"{head}embed.weight"])
        last = max(key for key in tensors if re.match(re.escape(head) + r"pred\.\d+\.weight$", key))
        decoders.append({
            "image_size": found["image_size"],
            "patch": found["patch"],
            "encoder_width": found["width"],
            "width": width,
            "depth": len([key for key in tensors if re.match(re.escape(head) + r"blocks\.\d+\.norm1\.weight", key)]),
            "heads": int(config.get("decoder_num_heads") or DECODER_HEADS.get(width, max(1, width // 32))),
            "output": len(tensors[last]),
            "scale": SCALES[len(decoders)],
            "mlp_ratio": len(tensors[f"{head}blocks.0.mlp.fc1.weight"]) / width,
        })  # fmt: skip
    normed = "norm.weight" in tensors or "fc_norm.weight" in tensors
    return {**found, "decoders": decoders, "normed": normed}


def kind(decoders: list[dict[str, Any]], normed: bool, **options: Any) -> OfficialLocalMIM:
    """The parts that these arguments are of."""
    return OfficialLocalMIM(VitEncoder(**options), [LocalDecoder(**decoder) for decoder in decoders], normed)


ADAPTER = StateDictAdapter(
    "localmim",
    "local multi-scale reconstruction, pretrained or fine-tuned (Wang et al., 2023; github.com/Haoqing-Wang/LocalMIM)",
    kind,
    arguments,
    _kept,
)
