"""Encoders: what attends to images and words."""

from mimgen.encoders.beit import BeitEncoder
from mimgen.encoders.clip import ClipTextEncoder
from mimgen.encoders.contract import Encoder
from mimgen.encoders.digest import digest_of
from mimgen.encoders.foreign_hf import TransformersEncoder, open_transformers
from mimgen.encoders.foreign_timm import TimmEncoder, open_timm
from mimgen.encoders.hivit import HiVitEncoder, PyramidTokens
from mimgen.encoders.merging import Merging
from mimgen.encoders.neck import Neck
from mimgen.encoders.patch_teachers import PatchTeacher, open_patch_teacher
from mimgen.encoders.plain import HogEncoder, PixelEncoder
from mimgen.encoders.resnet import ResNetEncoder
from mimgen.encoders.swin import SwinEncoder
from mimgen.encoders.swin_v2 import SwinV2Encoder
from mimgen.encoders.teachers import Teacher, open_teacher
from mimgen.encoders.text import ByteTextEncoder, TextStates
from mimgen.encoders.text_cache import CachedText
from mimgen.encoders.vit import VitEncoder, mae_vit

__all__ = [
    "BeitEncoder",
    "ByteTextEncoder",
    "CachedText",
    "ClipTextEncoder",
    "Encoder",
    "HiVitEncoder",
    "HogEncoder",
    "Merging",
    "Neck",
    "PatchTeacher",
    "PixelEncoder",
    "PyramidTokens",
    "ResNetEncoder",
    "SwinEncoder",
    "SwinV2Encoder",
    "Teacher",
    "TextStates",
    "TimmEncoder",
    "TransformersEncoder",
    "VitEncoder",
    "digest_of",
    "mae_vit",
    "open_patch_teacher",
    "open_teacher",
    "open_timm",
    "open_transformers",
]
