"""Encoders: what looks at pictures and words."""

from mimgen.encoders.beit import BeitEncoder
from mimgen.encoders.beit_pretraining import BeitPretraining
from mimgen.encoders.clip import ClipTextEncoder
from mimgen.encoders.merging import Merging
from mimgen.encoders.patch_teachers import PatchTeacher, open_patch_teacher
from mimgen.encoders.teachers import Teacher, open_teacher
from mimgen.encoders.text import ByteTextEncoder, TextStates
from mimgen.encoders.vit import VitEncoder

__all__ = [
    "BeitEncoder",
    "BeitPretraining",
    "ByteTextEncoder",
    "ClipTextEncoder",
    "Merging",
    "PatchTeacher",
    "Teacher",
    "TextStates",
    "VitEncoder",
    "open_patch_teacher",
    "open_teacher",
]
