"""The encoders of ours that training leaves in a folder, by the name that their config.json has."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, cast

from mimgen.encoders.contract import Encoder

__all__ = ["OWN", "saved_encoder"]

# Modules are imported when a folder of theirs is opened: some are parts of methods, which lie above this package.
OWN: Mapping[str, str] = {
    "BeitEncoder": "mimgen.encoders.beit",
    "BeitPretraining": "mimgen.methods.beitv2.network",
    "CaeEncoder": "mimgen.methods.cae.networks",
    "ConvVitEncoder": "mimgen.methods.dmjd.encoder",
    "CrossViewVit": "mimgen.methods.croco.encoder",
    "HiVitEncoder": "mimgen.encoders.hivit",
    "IbotVit": "mimgen.methods.ibot.encoder",
    "LatentVit": "mimgen.methods.latentmim.networks",
    "MaskTokenVit": "mimgen.encoders.mae",
    "ResNetEncoder": "mimgen.encoders.resnet",
    "ResidualTokenVit": "mimgen.methods.a2mim.encoder",
    "SwinEncoder": "mimgen.encoders.swin",
    "SwinV2Encoder": "mimgen.encoders.swin_v2",
    "MaskedVisibleViT": "mimgen.methods.hpm.networks",
    "VitEncoder": "mimgen.encoders.vit",
    "VolumeVit": "mimgen.methods.hiendmae.encoder",
}


def saved_encoder(config: dict[str, Any], folder: Any) -> Encoder | None:
    """The encoder in `folder`, whose config.json says `config`; None where it is none of ours."""
    name = config.get("_class_name", "")
    if name not in OWN:
        return None
    return cast(Encoder, getattr(importlib.import_module(OWN[name]), name).from_pretrained(folder))
