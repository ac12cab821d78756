"""Encoders: what looks at pictures and words."""

from mimgen.encoders.beit import BeitEncoder
from mimgen.encoders.beit_pretraining import BeitPretraining
from mimgen.encoders.cae import CaeDecoder, CaeEncoder
from mimgen.encoders.clip import ClipTextEncoder
from mimgen.encoders.cnn import ResNetEncoder
from mimgen.encoders.contract import Encoder
from mimgen.encoders.conv_vit import ConvVitEncoder
from mimgen.encoders.cross_decoder import CrossViewDecoder, SubsetDecoder
from mimgen.encoders.cross_view import CrossViewVit
from mimgen.encoders.decoders import LinearDecoder, MaeDecoder
from mimgen.encoders.digest import digest_of
from mimgen.encoders.foreign import TransformersEncoder, open_transformers
from mimgen.encoders.foreign_timm import TimmEncoder, open_timm
from mimgen.encoders.fusion import LayerFusion
from mimgen.encoders.hierarchical_decoder import HierarchicalDecoder
from mimgen.encoders.hivit import HiVitEncoder, PyramidTokens
from mimgen.encoders.ibot import IbotVit
from mimgen.encoders.latent import LatentDecoder, LatentVit
from mimgen.encoders.local_decoders import LocalDecoder
from mimgen.encoders.loss_predictor import LossPredictor, VeilingVit
from mimgen.encoders.mae import MaskTokenVit, mae_vit
from mimgen.encoders.merging import Merging
from mimgen.encoders.neck import Neck
from mimgen.encoders.own import OWN, saved_encoder
from mimgen.encoders.patch_teachers import PatchTeacher, open_patch_teacher
from mimgen.encoders.plain import HogEncoder, PixelEncoder
from mimgen.encoders.prototype_head import PrototypeHead
from mimgen.encoders.pyramid_decoders import FeatureHeads, PyramidDecoder
from mimgen.encoders.residual_token import ResidualTokenVit
from mimgen.encoders.swin import SwinEncoder
from mimgen.encoders.swin_v2 import SwinV2Encoder
from mimgen.encoders.teachers import Teacher, open_teacher
from mimgen.encoders.text import ByteTextEncoder, TextStates
from mimgen.encoders.text_cache import CachedText
from mimgen.encoders.visible_branch import VisibleBranch
from mimgen.encoders.vit import VitEncoder
from mimgen.encoders.volume_vit import VolumeTokens, VolumeVit

__all__ = [
    "BeitEncoder",
    "BeitPretraining",
    "ByteTextEncoder",
    "CachedText",
    "CaeDecoder",
    "CaeEncoder",
    "ClipTextEncoder",
    "ConvVitEncoder",
    "CrossViewDecoder",
    "CrossViewVit",
    "Encoder",
    "FeatureHeads",
    "HiVitEncoder",
    "HierarchicalDecoder",
    "HogEncoder",
    "IbotVit",
    "LatentDecoder",
    "LatentVit",
    "LayerFusion",
    "LinearDecoder",
    "LocalDecoder",
    "LossPredictor",
    "MaeDecoder",
    "MaskTokenVit",
    "Merging",
    "Neck",
    "OWN",
    "PatchTeacher",
    "PixelEncoder",
    "PrototypeHead",
    "PyramidDecoder",
    "PyramidTokens",
    "ResNetEncoder",
    "ResidualTokenVit",
    "SubsetDecoder",
    "SwinEncoder",
    "SwinV2Encoder",
    "Teacher",
    "TextStates",
    "TimmEncoder",
    "TransformersEncoder",
    "VeilingVit",
    "VisibleBranch",
    "VitEncoder",
    "VolumeTokens",
    "VolumeVit",
    "digest_of",
    "mae_vit",
    "open_patch_teacher",
    "open_teacher",
    "open_timm",
    "open_transformers",
    "saved_encoder",
]
