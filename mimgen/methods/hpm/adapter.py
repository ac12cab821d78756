"""Official HPM checkpoints (Haochen-Wang409/HPM): encoder alone, with both decoders, or fine-tuned.

The folder that is written is one of a `VitEncoder` (a `MaskedVisibleViT` where the release has its token); where the
release has the decoders, too, they lie in the subfolder `decoder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.checkpoints.release import StateDictAdapter
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.hpm.networks import LossPredictor, MaskedVisibleViT
from mimgen.methods.mae import adapter as mae


def rename(key: str) -> str:
    """Our name of an official tensor; MAE's, and those of the second decoder follow its rule."""
    return mae.rename(key)


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `kind`: as MAE's, and whether visible patches may be veiled."""
    return {**mae.arguments(config, tensors), "masked_visible": "vis_mask_token" in tensors}


def kind(decoder: Mapping[str, Any] | None = None, *, masked_visible: bool = False, **options: Any) -> OfficialModel:
    """The parts that these arguments are of."""
    encoder = (MaskedVisibleViT if masked_visible else VitEncoder)(**options)
    return OfficialModel(encoder, None if decoder is None else LossPredictor(**decoder))


ADAPTER = StateDictAdapter(
    "hpm",
    "hard patches mining, pretrained or fine-tuned (Wang et al., 2023; github.com/Haochen-Wang409/HPM)",
    kind,
    arguments,
    rename,
)
