"""Official A2MIM checkpoints of ResNets (Westlake-AI/openmixup): encoder alone, or with the neck.

The folder that is written is one of a `ResNetEncoder`; where the release has the neck, too, it lies in the
subfolder `decoder`. Only the standard strides are released.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap
from mimgen.checkpoints.sizes import numbered
from mimgen.decoders.mae import LinearDecoder
from mimgen.encoders.resnet import DEPTHS, ResNetEncoder

NECK = "neck.decoder_pred.0"
KEYS = KeyMap(
    (f"{NECK}.*", "decoder.decoder.*"),
    ("backbone.mask_gamma", "encoder.token_gain"),
    ("backbone.*", "encoder.*"),
)


def layers_of(tensors: Mapping[str, Tensor]) -> int:
    """18, 34, ...: the depth whose blocks the tensors are of.

    Raises:
        LookupError: there is none.
    """
    expansion = 4 if "backbone.layer1.0.conv3.weight" in tensors else 1
    counts = tuple(numbered(tensors, f"backbone.layer{stage}.") for stage in range(1, 5))
    for depth, (block, wanted) in DEPTHS.items():
        if block.expansion == expansion and wanted == counts:
            return depth
    raise LookupError(f"no ResNet has {counts} blocks")


def inputs_of_stages(tensors: Mapping[str, Tensor]) -> list[int]:
    """Channels that come into each stage."""
    return [tensors[f"backbone.layer{stage}.0.conv1.weight"].shape[1] for stage in range(1, 5)]


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the encoder and, under "decoder", those of the decoder.

    Args:
        config: the official constructor arguments, maybe empty; `replace` is taken from it.
        tensors: the official weights.
    """
    stem, channels = tensors["backbone.conv1.weight"].shape[:2]
    widths = inputs_of_stages(tensors)
    token = tensors["backbone.mask_token"].shape[1]
    found = {
        "depth": layers_of(tensors),
        "stem": stem,
        "width": len(tensors["backbone.layer1.0.conv1.weight"]),
        # the widths of the released sizes all differ
        "mask_stage": len(widths) - 1 - widths[::-1].index(token),
        "replace": bool(config.get("replace", False)),
        "gain": 1e-6 if "backbone.mask_gamma" in tensors else 0.0,
        "channels": channels,
    }
    if f"{NECK}.weight" not in tensors:
        return found
    outputs, width = tensors[f"{NECK}.weight"].shape[:2]
    stride = round((outputs / channels) ** 0.5)
    return {**found, "decoder": {"encoder_width": width, "stride": stride, "patch": stride, "channels": channels}}


ADAPTER = StateDictAdapter(
    name="a2mim",
    about="ResNets pretrained by A2MIM (Li et al., 2023; github.com/Westlake-AI/openmixup)",
    kind=ResNetEncoder,
    parts={"decoder": LinearDecoder},
    arguments=arguments,
    keys=KEYS,
    ignored={"head.*": "the classifier of fine-tuned networks"},
)
