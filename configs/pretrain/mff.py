"""MFF: MAE whose decoder reads a learned mixture of layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.masking.random import Random
from mimgen.methods.mff.fusion import LayerFusion
from mimgen.methods.mff.objective import MFF
from mimgen.recipes import DEFAULT_FLAGS, Pretrain, TrainFlags, choose_size
from mimgen.recipes.vit_sizes import decoder_of, vit_of
from mimgen.targets import PixelTarget


@dataclass(frozen=True, kw_only=True)
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
    "tiny": Size(
        pixels=16, patch=4, width=32, depth=3, heads=2, taps=(0, 2), deep=(1, 2), decoder_width=24,
        decoder_depth=1, decoder_heads=2, batch=8, base_lr=3e-2, warmup=10, steps=100,
    ),
    "emoji64": Size(
        pixels=64, patch=8, width=192, depth=6, heads=3, taps=(0, 1, 2, 3, 5), deep=(3, 4, 5),
        decoder_width=128, decoder_depth=2, decoder_heads=4, batch=64, base_lr=4e-3, warmup=200, steps=4000,
    ),
    "base": Size(
        pixels=224, patch=16, width=768, depth=12, heads=12, taps=(0, 2, 4, 6, 8, 11),
        deep=(6, 7, 8, 9, 10, 11), decoder_width=512, decoder_depth=8, decoder_heads=16, batch=4096,
        base_lr=1.5e-4, warmup=12_500, steps=250_000,
    ),
}  # fmt: skip


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

    return Pretrain("mff", size, build, data_config, settings)
