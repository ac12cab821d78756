"""AttMask: iBOT where the attention of the moving average says what is masked."""

from __future__ import annotations

from typing import Literal

from mimgen.methods.attmask import AttentionMasking, AttMask
from mimgen.methods.ibot.masking import VariedBlock
from mimgen.methods.ibot.objective import IBOT
from mimgen.methods.ibot.prototypes import Temperature
from mimgen.methods.moving_average import Momentum
from mimgen.recipes import DEFAULT_FLAGS, Pretrain, TrainFlags, choose_size, value_or
from mimgen.recipes.crop_sizes import CropSize, head_of, student_of, views_of

SIZES = {
    "tiny": CropSize(
        pixels=16, crop=16, small_crop=8, small=2, patch=4, width=32, depth=2, heads=2, prototypes=32,
        hidden=32, bottleneck=16, fixed_gain=True, drop_path=0.0, blur=0.5, batch=8, base_lr=3e-2, warmup=10,
        rise=20, freeze=2, steps=100,
    ),
    "emoji64": CropSize(
        pixels=64, crop=64, small_crop=32, small=2, patch=8, width=192, depth=6, heads=3, prototypes=1024,
        hidden=512, bottleneck=128, fixed_gain=True, drop_path=0.0, blur=0.6, batch=64, base_lr=4e-3,
        warmup=100, rise=150, freeze=25, steps=1000,
    ),
    "small": CropSize(
        pixels=384, crop=224, small_crop=96, small=10, patch=16, width=384, depth=12, heads=6,
        prototypes=8192, hidden=2048, bottleneck=256, fixed_gain=False, drop_path=0.1, blur=2.0, batch=240,
        base_lr=5e-4, warmup=53_400, rise=160_200, freeze=5340, steps=534_000,
    ),
}  # fmt: skip


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

    return Pretrain("attmask", size, build, data_config, settings)
