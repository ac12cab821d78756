"""A discriminator by name, in a size that suits the images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mimgen.errors import UserError
from mimgen.tokenizers.discriminators.base import Discriminator
from mimgen.tokenizers.discriminators.blur import BlurDiscriminator
from mimgen.tokenizers.discriminators.dino import load_dino
from mimgen.tokenizers.discriminators.maskbit import MaskBitDiscriminator
from mimgen.tokenizers.discriminators.patch import PatchDiscriminator
from mimgen.tokenizers.discriminators.stylegan import StyleDiscriminator

DiscriminatorKind = Literal["patch", "maskbit", "blur", "stylegan", "dino"]

SMALL = 128  # pixels below which half the released width and one stage less are enough


def open_discriminator(
    kind: DiscriminatorKind, pixels: int, weights: str | Path | None = None
) -> Discriminator:
    """A discriminator with fresh weights, as released from 128 pixels on and smaller below.

    None of them depends on how a batch is split over processes or micro-batches, except "dino", whose heads
    share statistics among 8 images.

    Args:
        kind: patch (PatchGAN with group norm), maskbit (PatchGAN of MaskBit), blur (Open-MAGVIT2 v2),
            stylegan (one logit per image, squares of 8, 16, 32, ... pixels), dino (heads on a frozen DINO).
        pixels: side of the images.
        weights: file of the frozen DINO ViT, for "dino" only; nothing is downloaded.

    Raises:
        UserError: unknown kind, "dino" without weights, weights for another kind, or pixels that do not suit.
    """
    if weights is not None and kind != "dino":
        raise UserError(f"discriminator {kind!r} takes no weights (got {weights}): only 'dino' has a frozen part")
    small = pixels < SMALL
    width, stages = (32, 2) if small else (64, 3)
    if kind == "patch":
        return PatchDiscriminator(width, stages, norm="group")
    if kind == "maskbit":
        return MaskBitDiscriminator(width, stages)
    if kind == "blur":
        return BlurDiscriminator(2 * width, stages, blur=True)
    if kind == "stylegan":
        return StyleDiscriminator(pixels, *((2048, 128) if small else (16384, 512)))
    if kind == "dino":
        if weights is None:
            raise UserError(
                "discriminator 'dino' needs the file of DINO ViT-S/16 on disk (dino_deitsmall16_pretrain.pth): "
                "pass its path as weights, or choose patch, maskbit, blur or stylegan"
            )
        return load_dino(Path(weights))
    raise UserError(f"discriminator {kind!r} does not exist; choose from patch, maskbit, blur, stylegan, dino")
