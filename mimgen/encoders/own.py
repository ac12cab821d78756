"""The encoders of ours that training leaves in a folder, by the name that their config.json has."""

from __future__ import annotations

from typing import Any, cast

from mimgen.encoders.beit import BeitEncoder
from mimgen.encoders.beit_pretraining import BeitPretraining
from mimgen.encoders.cae import CaeEncoder
from mimgen.encoders.cnn import ResNetEncoder
from mimgen.encoders.contract import Encoder
from mimgen.encoders.conv_vit import ConvVitEncoder
from mimgen.encoders.cross_view import CrossViewVit
from mimgen.encoders.hivit import HiVitEncoder
from mimgen.encoders.ibot import IbotVit
from mimgen.encoders.latent import LatentVit
from mimgen.encoders.loss_predictor import VeilingVit
from mimgen.encoders.mae import MaskTokenVit
from mimgen.encoders.residual_token import ResidualTokenVit
from mimgen.encoders.swin import SwinEncoder
from mimgen.encoders.swin_v2 import SwinV2Encoder
from mimgen.encoders.vit import VitEncoder
from mimgen.encoders.volume_vit import VolumeVit
from mimgen.part import Part

__all__ = ["OWN", "saved_encoder"]

OWN: dict[str, type[Part]] = {
    kind.__name__: kind
    for kind in (
        BeitEncoder, BeitPretraining, CaeEncoder, ConvVitEncoder, CrossViewVit, HiVitEncoder, IbotVit, LatentVit,
        MaskTokenVit, ResNetEncoder, ResidualTokenVit, SwinEncoder, SwinV2Encoder, VeilingVit, VitEncoder, VolumeVit,
    )
}  # fmt: skip


def saved_encoder(config: dict[str, Any], folder: Any) -> Encoder | None:
    """The encoder in `folder`, whose config.json says `config`; None where it is none of ours."""
    kind = OWN.get(config.get("_class_name", ""))
    return None if kind is None else cast(Encoder, kind.from_pretrained(folder))
