"""AttMask: iBOT where the attention of the moving average says what is masked."""

from __future__ import annotations

from typing import Literal

from mimgen.methods.attmask.masking import AttentionMasking
from mimgen.methods.attmask.objective import AttMask
from mimgen.methods.ibot.masking import VariedBlock
from mimgen.methods.ibot.objective import IBOT
from mimgen.methods.ibot.prototypes import Temperature
from mimgen.methods.moving_average import Momentum
from mimgen.recipes import DEFAULT_FLAGS, Pretrain, TrainFlags, choose_size, overrides, value_or
from mimgen.recipes.crop_sizes import CropSize, head_of, student_of, views_of

SIZES = {
    "tiny": CropSize(16, 16, 8, 2, 4, 32, 2, 2, 32, 32, 16, True, 0.0, 0.5, 8, 3e-2, 10, 20, 2, 100),
    "emoji64": CropSize(64, 64, 32, 2, 8, 192, 6, 3, 1024, 512, 128, True, 0.0, 0.6, 64, 4e-3, 100, 150, 25, 1000),
    "small": CropSize(
        384, 224, 96, 10, 16, 384, 12, 6, 8192, 2048, 256, False, 0.1, 2.0, 240, 5e-4, 53_400, 160_200, 5340, 534_000
    ),
}


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    mode: Literal["high", "low", "hints", "random"] = "high",
    shown: float = 0.1,
    chance: float = 0.5,
    small_crops: int | None = None,
    colours: bool = True,
    common: TrainFlags = DEFAULT_FLAGS,
) -> Pretrain:
    """Pretrain an encoder: mask what its moving average attends to, and predict what that says of it.

    Paper: "What to Hide from Your Students: Attention-Guided Masked Image Modeling" (arXiv 2203.12719).

    Command: mimgen train attmask --size emoji64 --out runs/attmask

    Expected: (measured 2026-11-21, 2 CPU cores, mean of 2 seeds, as many operations as MAE takes for 9,600
    images, `mimgen compare mim`) emoji subgroups, five folds: k-NN 36.5, linear 48.0 %; random: 36.7, 47.9 %.

    Args:
        size: tiny (seconds), emoji64 (64 px, an hour), small (ViT-S/16 at 224 px, 100 epochs of ImageNet, the
            paper's).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        mode: mask the most attended patches, the least ("low"), the most but for some hints, or random blocks (iBOT).
        shown: share of the most attended patches that hints are sampled from.
        chance: of a crop to be masked at all.
        small_crops: number of small crops; by default the size's own.
        colours: change the colours of crops at random.
        common: of every training, see `TrainFlags`.
        pixels: side of the images that crops are cut from; by default the size's own.
        batch_size: images per step; by default the size's own. Below 64 the centres are noisy.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)
    settings = common.settings(
        chosen, min_lr_ratio=2e-3, weight_decay=0.04, weight_decay_end=0.4, betas=(0.9, 0.999), clip=3.0, ema=0.0
    )
    count = value_or(small_crops, chosen.small)

    def build() -> IBOT:
        encoder = student_of(chosen)
        head = head_of(chosen)
        views = views_of(chosen, count, colours)
        kind = IBOT if mode == "random" else AttMask
        return kind(
            encoder,
            head,
            views,
            VariedBlock(chance=chance) if mode == "random" else AttentionMasking(mode, pool=shown, chance=chance),
            momentum=Momentum(0.996, 1.0, settings.steps),
            patch_temperature=Temperature(0.04, 0.07, chosen.rise),
            freeze=chosen.freeze,
        )

    options = overrides(
        mode=(mode, "high"),
        shown=(shown, 0.1),
        chance=(chance, 0.5),
        small_crops=(count, chosen.small),
        colours=(colours, True),
    )
    return Pretrain("attmask", size, build, data_config, settings, options)
