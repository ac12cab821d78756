"""Encoders: what looks at pictures and words."""

from mimgen.encoders.beit import BeitEncoder
from mimgen.encoders.beit_pretraining import BeitPretraining
from mimgen.encoders.clip import ClipTextEncoder
from mimgen.encoders.contract import Encoder
from mimgen.encoders.decoders import LinearDecoder, MaeDecoder
from mimgen.encoders.digest import digest_of
from mimgen.encoders.foreign import TransformersEncoder, open_transformers
from mimgen.encoders.foreign_timm import TimmEncoder, open_timm
from mimgen.encoders.mae import MaskTokenVit, mae_vit
from mimgen.encoders.merging import Merging
from mimgen.encoders.patch_teachers import PatchTeacher, open_patch_teacher
from mimgen.encoders.plain import HogEncoder, PixelEncoder
from mimgen.encoders.swin import SwinEncoder
from mimgen.encoders.teachers import Teacher, open_teacher
from mimgen.encoders.text import ByteTextEncoder, TextStates
from mimgen.encoders.vit import VitEncoder

__all__ = [
    "BeitEncoder",
    "BeitPretraining",
    "ByteTextEncoder",
    "ClipTextEncoder",
    "Encoder",
    "Merging",
    "PatchTeacher",
    "Teacher",
    "TextStates",
    "VitEncoder",
    "open_patch_teacher",
    "open_teacher",
    "HogEncoder",
    "LinearDecoder",
    "MaeDecoder",
    "MaskTokenVit",
    "PixelEncoder",
    "SwinEncoder",
    "TimmEncoder",
    "TransformersEncoder",
    "digest_of",
    "mae_vit",
    "open_timm",
    "open_transformers",
]
