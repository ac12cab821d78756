"""MFF: MAE whose decoder reads a learned mixture of layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.masking.random import Random
from mimgen.methods.mff.fusion import LayerFusion
from mimgen.methods.mff.objective import MFF
from mimgen.recipes import DEFAULT_FLAGS, Pretrain, TrainFlags, choose_size, overrides
from mimgen.recipes.vit_sizes import decoder_of, vit_of
from mimgen.targets import PixelTarget


@dataclass(frozen=True)
class Size:
    """Numbers of one size; `taps` count blocks from 0, `deep` are as many of the upper half."""

    pixels: int
    patch: int
    width: int
    depth: int
    heads: int
    taps: tuple[int, ...]
    deep: tuple[int, ...]
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(16, 4, 32, 3, 2, (0, 2), (1, 2), 24, 1, 2, 8, 3e-2, 10, 100),
    "emoji64": Size(64, 8, 192, 6, 3, (0, 1, 2, 3, 5), (3, 4, 5), 128, 2, 4, 64, 4e-3, 200, 4000),
    "base": Size(
        224, 16, 768, 12, 12, (0, 2, 4, 6, 8, 11), (6, 7, 8, 9, 10, 11), 512, 8, 16, 4096, 1.5e-4, 12_500, 250_000
    ),
}


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    mask_ratio: float = 0.75,
    mixture: Literal["learned", "even", "deep", "last"] = "learned",
    common: TrainFlags = DEFAULT_FLAGS,
) -> Pretrain:
    """Pretrain an encoder as MAE does, with low layers led past the last one to the decoder.

    Paper: "Improving Pixel-based MIM by Reducing Wasted Modeling Capability" (arXiv 2308.00261).

    Command: mimgen train mff --size emoji64 --out runs/mff

    Expected: (measured 2026-11-21, 2 CPU cores, mean of 2 seeds, as many operations as MAE takes for 9,600
    images, `mimgen compare mim`) emoji subgroups, five folds: k-NN 36.6, linear 49.4 %; last layer (MAE):
    34.4, 49.3 %.

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes), base (ViT-B/16 at 224 px, 800 epochs of ImageNet, the
            paper's).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        mask_ratio: share of masked patches.
        mixture: "learned" shares of low and high layers, "even" ones, learned shares of "deep" layers only, or the
            "last" layer alone, which is MAE.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)
    settings = common.settings(chosen, betas=(0.9, 0.95), clip=0.0, ema=0.0)
    taps = {"deep": chosen.deep, "last": (chosen.depth - 1,)}.get(mixture, chosen.taps)

    def build() -> MFF:
        encoder = vit_of(chosen, data_config.size)
        decoder = decoder_of(MaeDecoder, chosen, data_config.size)
        target = PixelTarget(chosen.patch, mean=IMAGENET_MEAN, std=IMAGENET_STD, last=True)
        fusion = LayerFusion(chosen.width, len(taps), learned=mixture != "even")
        return MFF(encoder, decoder, target, Random(mask_ratio), fusion, taps)

    options = overrides(mask_ratio=(mask_ratio, 0.75), mixture=(mixture, "learned"))
    return Pretrain("mff", size, build, data_config, settings, options)
