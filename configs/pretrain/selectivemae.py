"""SelectiveMAE: see few informative patches, tell few others, and so save time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mimgen.encoders.cross_decoder import SubsetDecoder
from mimgen.encoders.mae import mae_vit
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.masking.selective import Selective
from mimgen.objectives.selective import SelectiveModelling
from mimgen.recipes import USUAL, Common, Pretrain, changed, choose_size
from mimgen.targets import PixelTarget


@dataclass(frozen=True)
class Size:
    """Numbers of one size."""

    pixels: int
    patch: int
    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(16, 4, 32, 2, 2, 24, 1, 2, 8, 3e-2, 10, 100),
    "emoji64": Size(64, 8, 192, 6, 3, 128, 2, 4, 64, 4e-3, 200, 4000),
    "base": Size(224, 16, 768, 12, 12, 512, 8, 16, 2048, 1.5e-4, 20_000, 1_600_000),
    "large": Size(224, 16, 1024, 24, 16, 512, 8, 16, 2048, 1.5e-4, 20_000, 1_600_000),
}


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    keep: float = 0.15,
    score: float = 0.25,
    guide: Literal["edges", "released"] = "edges",
    normalise: bool = True,
    common: Common = USUAL,
) -> Pretrain:
    """Pretrain an encoder: see few patches with strong edges or unlike these, tell the pixels of few others.

    Paper: "Harnessing Massive Satellite Imagery with Efficient Masked Image Modeling" (arXiv 2406.11933).

    Command: mimgen train selectivemae --size emoji64 --out runs/selectivemae

    Expected: not measured yet

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes), base and large (ViT-B/16 and ViT-L/16 at 224 px, 800 epochs of
            4 million pictures, the paper's).
        data: "emoji", or your pictures: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        keep: share of patches that are seen.
        score: share of patches that are told.
        guide: edges draws seen patches by the strength of their gradients; released draws them evenly, as the
            official code does in effect.
        normalise: tell pixels normalised by patch.
        common: of every training, see `Common`.
    """
    chosen = choose_size(SIZES, size)
    pictures = common.pictures(data, chosen)
    settings = common.settings(chosen, betas=(0.9, 0.95), clip=0.0, ema=0.0)

    def build() -> SelectiveModelling:
        encoder = mae_vit(
            image_size=pictures.size,
            patch=chosen.patch,
            width=chosen.width,
            depth=chosen.depth,
            heads=chosen.heads,
        )
        decoder = SubsetDecoder(
            pictures.size,
            chosen.patch,
            chosen.width,
            chosen.decoder_width,
            chosen.decoder_depth,
            chosen.decoder_heads,
        )
        target = PixelTarget(chosen.patch, normalise=normalise, mean=IMAGENET_MEAN, std=IMAGENET_STD, last=True)
        return SelectiveModelling(
            encoder, decoder, target, Selective(keep, score), steps=settings.steps, score=guide
        )

    options = changed(
        keep=(keep, 0.15),
        score=(score, 0.25),
        guide=(guide, "edges"),
        normalise=(normalise, True),
    )
    return Pretrain("selectivemae", size, build, pictures, settings, options)
