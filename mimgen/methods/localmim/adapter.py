"""Official checkpoints of LocalMIM: encoder alone, with decoders, or fine-tuned.

The folder that is written is one of a `VitEncoder`; decoders lie in its subfolders `decoders_0` (the finest
scale) to `decoders_3`. Pretrained networks have norms of the taps only: the encoder gets a fresh last norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap
from mimgen.checkpoints.sizes import heads_of, numbered
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.localmim.decoders import SCALES, LocalDecoder
from mimgen.methods.mae import adapter as mae

KEYS = KeyMap(
    ("norm.#.*", "decoders.#.tap_norm.*"),
    ("decoder.#.pred.*", "decoders.#.cells.*"),
    ("decoder.#.*", "decoders.#.*"),
    ("*", "encoder.*"),
)


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the encoder and, under "decoders", a list of those of the decoders.

    Args:
        config: the official constructor arguments, maybe empty; only numbers of heads are taken from it.
        tensors: the official weights.
    """
    found = mae.encoder_arguments(config, tensors)
    decoders: list[dict[str, Any]] = []
    while f"decoder.{len(decoders)}.embed.weight" in tensors:
        head = f"decoder.{len(decoders)}."
        width = len(tensors[f"{head}embed.weight"])
        last = numbered((key for key in tensors if key.endswith(".weight")), f"{head}pred.") - 1
        decoders.append({
            "image_size": found["image_size"],
            "patch": found["patch"],
            "encoder_width": found["width"],
            "width": width,
            "depth": numbered(tensors, f"{head}blocks."),
            "heads": heads_of(width, config.get("decoder_num_heads"), head=mae.DECODER_HEAD),
            "output": len(tensors[f"{head}pred.{last}.weight"]),
            "scale": SCALES[len(decoders)],
            "mlp_ratio": len(tensors[f"{head}blocks.0.mlp.fc1.weight"]) / width,
        })  # fmt: skip
    return {**found, "decoders": decoders}


ADAPTER = StateDictAdapter(
    name="localmim",
    about="local multi-scale reconstruction, pretrained or fine-tuned (Wang et al., 2023; "
    "github.com/Haoqing-Wang/LocalMIM)",
    kind=VitEncoder,
    parts={"decoders": LocalDecoder},
    arguments=arguments,
    keys=KEYS,
    ignored={"hog_enc.*": "fixed filters of the target, which is built anew"},
    # a pretrained network has norms of the taps only, none behind its last block
    fresh={"encoder.norm.weight": 1.0, "encoder.norm.bias": 0.0},
)
