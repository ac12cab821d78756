"""MAE: mask most patches, encode the rest, let a light decoder predict the pixels."""

from __future__ import annotations

from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.masking.random import Random
from mimgen.methods.mim import MIM
from mimgen.recipes import DEFAULT_FLAGS, Pretrain, TrainFlags, choose_size, overrides
from mimgen.recipes.vit_sizes import MaeSize, decoder_of, vit_of
from mimgen.targets import PixelTarget

SIZES = {
    "tiny": MaeSize(16, 4, 32, 2, 2, 24, 1, 2, 8, 3e-2, 10, 100),
    "emoji64": MaeSize(64, 8, 192, 6, 3, 128, 2, 4, 64, 4e-3, 200, 4000),
    "base": MaeSize(224, 16, 768, 12, 12, 512, 8, 16, 4096, 1.5e-4, 12_500, 250_000),
}


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    mask_ratio: float = 0.75,
    normalise: bool = True,
    common: TrainFlags = DEFAULT_FLAGS,
) -> Pretrain:
    """Pretrain an encoder: predict the pixels of masked patches from the visible ones alone.

    Paper: "Masked Autoencoders Are Scalable Vision Learners" (arXiv 2111.06377).

    Command: mimgen train mae --size emoji64 --out runs/mae

    Expected: (measured 2026-11-21, 2 CPU cores, mean of 2 seeds, 9,600 images, `mimgen compare mim`) emoji
    subgroups, five folds: k-NN 34.4, linear 49.3 %.

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes), base (ViT-B/16 at 224 px, 800 epochs of ImageNet, the
            paper's).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        mask_ratio: share of masked patches.
        normalise: predict pixels normalised by patch; without, the decoder's images can be looked at as they are.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)
    settings = common.settings(chosen, betas=(0.9, 0.95), clip=0.0, ema=0.0)

    def build() -> MIM:
        encoder = vit_of(chosen, data_config.size)
        decoder = decoder_of(MaeDecoder, chosen, data_config.size)
        target = PixelTarget(chosen.patch, normalise=normalise, mean=IMAGENET_MEAN, std=IMAGENET_STD, last=True)
        return MIM(encoder, decoder, target, Random(mask_ratio))

    options = overrides(mask_ratio=(mask_ratio, 0.75), normalise=(normalise, True))
    return Pretrain("mae", size, build, data_config, settings, options)
