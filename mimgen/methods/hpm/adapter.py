"""Official HPM checkpoints (Haochen-Wang409/HPM): encoder alone, with both decoders, or fine-tuned.

The folder that is written is one of a `VitEncoder` (a `VeilingVit` where the release has its token); where the
release has the decoders, too, they lie in the subfolder `decoder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.checkpoints.official import ReleasedParts
from mimgen.checkpoints.release import Release
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.hpm.networks import LossPredictor, VeilingVit
from mimgen.methods.mae import adapter as mae


def rename(key: str) -> str:
    """Our name of an official tensor; MAE's, and those of the second decoder follow its rule."""
    return mae.rename(key)


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `kind`: as MAE's, and whether visible patches may be veiled."""
    return {**mae.arguments(config, tensors), "veiling": "vis_mask_token" in tensors}


def kind(decoder: Mapping[str, Any] | None = None, *, veiling: bool = False, **options: Any) -> ReleasedParts:
    """The parts that these arguments are of."""
    encoder = (VeilingVit if veiling else VitEncoder)(**options)
    return ReleasedParts(encoder, None if decoder is None else LossPredictor(**decoder))


RELEASE = Release(
    "hpm",
    "hard patches mining, pretrained or fine-tuned (Wang et al., 2023; github.com/Haochen-Wang409/HPM)",
    kind,
    arguments,
    rename,
)
