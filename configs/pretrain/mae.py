"""MAE: mask most patches, encode the rest, let a light decoder predict the pixels."""

from __future__ import annotations

from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.masking.random import Random
from mimgen.methods.mim import MIM
from mimgen.recipes import DEFAULT_FLAGS, Pretrain, TrainFlags, choose_size
from mimgen.recipes.vit_sizes import MaeSize, decoder_of, vit_of
from mimgen.targets import PixelTarget

SIZES = {
    "tiny": MaeSize(
        pixels=16, patch=4, width=32, depth=2, heads=2, decoder_width=24, decoder_depth=1, decoder_heads=2,
        batch=8, base_lr=3e-2, warmup=10, steps=100,
    ),
    "emoji64": MaeSize(
        pixels=64, patch=8, width=192, depth=6, heads=3, decoder_width=128, decoder_depth=2, decoder_heads=4,
        batch=64, base_lr=4e-3, warmup=200, steps=4000,
    ),
    "base": MaeSize(
        pixels=224, patch=16, width=768, depth=12, heads=12, decoder_width=512, decoder_depth=8,
        decoder_heads=16, batch=4096, base_lr=1.5e-4, warmup=12_500, steps=250_000,
    ),
}  # fmt: skip


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

    return Pretrain("mae", size, build, data_config, settings)
