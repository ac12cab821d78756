"""Official HPM checkpoints (Haochen-Wang409/HPM): encoder alone, with both decoders, or fine-tuned.

The folder that is written is one of a `VitEncoder`, with a mask token where the release has one for visible
patches; where the release has the decoders, too, they lie in the subfolder `decoder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.checkpoints.release import StateDictAdapter
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.hpm.networks import LossPredictor
from mimgen.methods.mae import adapter as mae


def rename(key: str) -> str:
    """Our name of an official tensor; MAE's, and those of the second decoder follow its rule."""
    return "encoder.mask_token" if key == "vis_mask_token" else mae.rename(key)


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `kind`: as MAE's, and the mask token of visible patches where there is one."""
    more = {"mask_token": "visible"} if "vis_mask_token" in tensors else {}
    return {**mae.arguments(config, tensors), **more}


def kind(decoder: Mapping[str, Any] | None = None, **options: Any) -> OfficialModel:
    """The parts that these arguments are of."""
    return OfficialModel(VitEncoder(**options), None if decoder is None else LossPredictor(**decoder))


ADAPTER = StateDictAdapter(
    "hpm",
    "hard patches mining, pretrained or fine-tuned (Wang et al., 2023; github.com/Haochen-Wang409/HPM)",
    kind,
    arguments,
    rename,
)
