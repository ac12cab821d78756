"""Discriminators of images for adversarial training."""

from mimgen.tokenizers.discriminators.base import Discriminator
from mimgen.tokenizers.discriminators.blur import BlurDiscriminator
from mimgen.tokenizers.discriminators.dino import DinoDiscriminator, load_dino
from mimgen.tokenizers.discriminators.maskbit import MaskBitDiscriminator
from mimgen.tokenizers.discriminators.open import DiscriminatorKind, open_discriminator
from mimgen.tokenizers.discriminators.patch import PatchDiscriminator
from mimgen.tokenizers.discriminators.stylegan import StyleBlock, StyleDiscriminator

__all__ = [
    "BlurDiscriminator",
    "DinoDiscriminator",
    "Discriminator",
    "DiscriminatorKind",
    "MaskBitDiscriminator",
    "PatchDiscriminator",
    "StyleBlock",
    "StyleDiscriminator",
    "load_dino",
    "open_discriminator",
]
