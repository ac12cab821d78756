"""Official HPM checkpoints (Haochen-Wang409/HPM): encoder alone, with both decoders, or fine-tuned.

The folder that is written is one of a `VitEncoder`, with a mask token where the release has one for visible
patches; where the release has the decoders, too, they lie in the subfolder `decoder`. Names are MAE's, those of the
second decoder too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.hpm.networks import LossPredictor
from mimgen.methods.mae import adapter as mae


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments as of MAE, and the mask token of visible patches where there is one."""
    more = {"mask_token": "visible"} if "vis_mask_token" in tensors else {}
    return {**mae.arguments(config, tensors), **more}


ADAPTER = StateDictAdapter(
    name="hpm",
    about="hard patches mining, pretrained or fine-tuned (Wang et al., 2023; github.com/Haochen-Wang409/HPM)",
    kind=VitEncoder,
    parts={"decoder": LossPredictor},
    arguments=arguments,
    keys=KeyMap(("vis_mask_token", "encoder.mask_token"), *mae.NAMES),
)
