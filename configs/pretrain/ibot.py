"""iBOT: predict the prototypes of masked patches and of other crops."""

from __future__ import annotations

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
        384, 224, 96, 10, 16, 384, 12, 6, 8192, 2048, 256, False, 0.1, 2.0, 1024, 5e-4, 12_500, 37_500, 1250, 1_000_000
    ),
    "base": CropSize(
        384, 224, 96, 10, 16, 768, 12, 12, 8192, 2048, 256, True, 0.1, 2.0, 1024, 5e-4, 12_500, 37_500, 1250, 500_000
    ),
}


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    class_weight: float = 1.0,
    patch_weight: float = 1.0,
    separate_heads: bool = False,
    centring: bool = True,
    small_crops: int | None = None,
    colours: bool = True,
    common: TrainFlags = DEFAULT_FLAGS,
) -> Pretrain:
    """Pretrain an encoder: predict what its moving average says of masked patches and other crops.

    Paper: "iBOT: Image BERT Pre-Training with Online Tokenizer" (arXiv 2111.07832).

    Command: mimgen train ibot --size emoji64 --out runs/ibot

    Expected: (measured 2026-11-21, 2 CPU cores, mean of 2 seeds, as many operations as MAE takes for 9,600
    images, `mimgen compare mim`) emoji subgroups, five folds: k-NN 36.8, linear 47.9 %; class token only
    (DINO): 37.1, 48.2 %.

    Args:
        size: tiny (seconds), emoji64 (64 px, an hour), small and base (ViT-S/16 and ViT-B/16 at 224 px, 800 and 400
            epochs of ImageNet, the paper's).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        class_weight: weight of the cross-entropy across crops; 0 leaves the masked patches alone.
        patch_weight: weight of that of masked patches; 0 leaves DINO.
        separate_heads: patches have prototypes of their own.
        centring: take the mean off what the teacher says; without, it collapses.
        small_crops: number of small crops; by default the size's own.
        colours: change the colours of crops at random.
        common: of every training, see `TrainFlags`.
        pixels: side of the images that crops are cut from; by default the size's own.
        batch_size: images per step; by default the size's own. Below 64 the centres are noisy.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)
    settings = common.settings(
        chosen, min_lr_ratio=5e-4, weight_decay=0.04, weight_decay_end=0.4, betas=(0.9, 0.999), clip=3.0, ema=0.0
    )
    count = value_or(small_crops, chosen.small)

    def build() -> IBOT:
        encoder = student_of(chosen)
        head = head_of(chosen, separate=separate_heads)
        return IBOT(
            encoder,
            head,
            views_of(chosen, count, colours),
            VariedBlock(),
            momentum=Momentum(0.996, 1.0, settings.steps),
            patch_temperature=Temperature(0.04, 0.07, chosen.rise),
            centre_momentum=(0.9, 0.9) if centring else (1.0, 1.0),
            class_weight=class_weight,
            patch_weight=patch_weight,
            freeze=chosen.freeze,
        )

    options = overrides(
        class_weight=(class_weight, 1.0),
        patch_weight=(patch_weight, 1.0),
        separate_heads=(separate_heads, False),
        centring=(centring, True),
        small_crops=(count, chosen.small),
        colours=(colours, True),
    )
    return Pretrain("ibot", size, build, data_config, settings, options)
