"""HPM: a teacher says which patches are hard, and these are masked more and more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.methods.hpm.masking import Hard
from mimgen.methods.hpm.networks import LossPredictor
from mimgen.methods.hpm.objective import HPM
from mimgen.methods.moving_average import Momentum
from mimgen.recipes import DEFAULT_FLAGS, Pretrain, TrainFlags, choose_size
from mimgen.recipes.vit_sizes import MaeShape, decoder_of, vit_of
from mimgen.targets import PixelTarget


@dataclass(frozen=True, kw_only=True)
class Size(MaeShape):
    """Numbers of one size; the teacher's momentum rises from one value to the other in the first half of the run."""

    momentum: tuple[float, float]
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(
        pixels=16, patch=4, width=32, depth=2, heads=2, decoder_width=24, decoder_depth=1, decoder_heads=2,
        momentum=(0.9, 0.99), batch=8, base_lr=3e-2, warmup=10, steps=100,
    ),
    "emoji64": Size(
        pixels=64, patch=8, width=192, depth=6, heads=3, decoder_width=128, decoder_depth=2, decoder_heads=4,
        momentum=(0.99, 0.998), batch=64, base_lr=4e-3, warmup=200, steps=4000,
    ),
    "base": Size(
        pixels=224, patch=16, width=768, depth=12, heads=12, decoder_width=512, decoder_depth=8,
        decoder_heads=16, momentum=(0.999, 0.9999), batch=2048, base_lr=1.5e-4, warmup=25_000, steps=125_000,
    ),
    "large": Size(
        pixels=224, patch=16, width=1024, depth=24, heads=16, decoder_width=512, decoder_depth=8,
        decoder_heads=16, momentum=(0.999, 0.9999), batch=2048, base_lr=1.5e-4, warmup=25_000, steps=125_000,
    ),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    mask_ratio: float = 0.75,
    hard_share: float = 0.5,
    predictor_weight: float = 1.0,
    comparison: Literal["relative", "absolute"] = "relative",
    normalise: bool = False,
    common: TrainFlags = DEFAULT_FLAGS,
) -> Pretrain:
    """Pretrain an encoder: predict the pixels of masked patches, the hard ones more and more.

    Paper: "Hard Patches Mining for Masked Image Modeling" (arXiv 2304.05919).

    Command: mimgen train hpm --size emoji64 --out runs/hpm

    Expected: (measured 2026-11-21, 2 CPU cores, mean of 2 seeds, as many operations as MAE takes for 9,600
    images, `mimgen compare mim`) emoji subgroups, five folds: k-NN 34.8, linear 48.8 %; MAE: 34.4, 49.3 %.

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes), base and large (ViT-B/16 and ViT-L/16 at 224 px, 200 epochs
            of ImageNet, the paper's).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        mask_ratio: share of masked patches.
        hard_share: of the masked patches, the share that the teacher has chosen at the end; it grows evenly from 0.
            0 masks at random throughout, and the loss is predicted all the same.
        predictor_weight: of the prediction of the loss; 0 leaves the predictor untrained.
        comparison: predict which of two patches is harder, or the standardised loss itself.
        normalise: predict pixels normalised by patch; the paper's runs tell them as they are.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)
    settings = common.settings(chosen, betas=(0.9, 0.95), clip=5.0, ema=0.0)

    def build() -> HPM:
        encoder = vit_of(chosen, data_config.size)
        decoder = decoder_of(LossPredictor, chosen, data_config.size)
        return HPM(
            encoder,
            decoder,
            PixelTarget(chosen.patch, normalise=normalise, mean=IMAGENET_MEAN, std=IMAGENET_STD, last=True),
            Hard(mask_ratio, hard_share),
            momentum=Momentum(*chosen.momentum, settings.steps // 2, linear=True),
            relative=comparison == "relative",
            predictor_weight=predictor_weight,
        )

    return Pretrain("hpm", size, build, data_config, settings)
