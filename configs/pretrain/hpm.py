"""HPM: a teacher says which patches are hard, and these are masked more and more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.methods.hpm.masking import Hard
from mimgen.methods.hpm.networks import LossPredictor
from mimgen.methods.hpm.objective import HPM
from mimgen.methods.moving_average import Momentum
from mimgen.recipes import DEFAULT_FLAGS, Pretrain, TrainFlags, choose_size, overrides
from mimgen.recipes.vit_sizes import MaeShape, decoder_of, vit_of
from mimgen.targets import PixelTarget


@dataclass(frozen=True)
class Size(MaeShape):
    """Numbers of one size; the teacher's momentum rises from one value to the other in the first half of the run."""

    momentum: tuple[float, float]
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(16, 4, 32, 2, 2, 24, 1, 2, (0.9, 0.99), 8, 3e-2, 10, 100),
    "emoji64": Size(64, 8, 192, 6, 3, 128, 2, 4, (0.99, 0.998), 64, 4e-3, 200, 4000),
    "base": Size(224, 16, 768, 12, 12, 512, 8, 16, (0.999, 0.9999), 2048, 1.5e-4, 25_000, 125_000),
    "large": Size(224, 16, 1024, 24, 16, 512, 8, 16, (0.999, 0.9999), 2048, 1.5e-4, 25_000, 125_000),
}


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
            steps=settings.steps,
            momentum=Momentum(*chosen.momentum, settings.steps // 2, linear=True),
            relative=comparison == "relative",
            predictor_weight=predictor_weight,
        )

    options = overrides(
        mask_ratio=(mask_ratio, 0.75),
        hard_share=(hard_share, 0.5),
        predictor_weight=(predictor_weight, 1.0),
        comparison=(comparison, "relative"),
        normalise=(normalise, False),
    )
    return Pretrain("hpm", size, build, data_config, settings, options)
