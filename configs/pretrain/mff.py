"""MFF: MAE whose decoder reads a learned mixture of layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mimgen.encoders.decoders import MaeDecoder
from mimgen.encoders.fusion import LayerFusion
from mimgen.encoders.mae import mae_vit
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.masking.random import Random
from mimgen.objectives.mff import FusedModelling
from mimgen.recipes import Pictures, Pretrain, choose_size, given
from mimgen.targets import PixelTarget
from mimgen.training import Settings


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
    steps: int | None = None,
    pixels: int | None = None,
    batch_size: int | None = None,
    base_lr: float | None = None,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    time_limit: float | None = None,
    tracker: Literal["tensorboard", "wandb", "none"] = "tensorboard",
    seed: int = 0,
) -> Pretrain:
    """Pretrain an encoder as MAE does, with low layers led past the last one to the decoder.

    Paper: "Improving Pixel-based MIM by Reducing Wasted Modeling Capability" (arXiv 2308.00261).

    Command: mimgen train mff --size emoji64 --out runs/mff

    Expected: not measured yet

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes), base (ViT-B/16 at 224 px, 800 epochs of ImageNet, the
            paper's).
        data: "emoji", or your pictures: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        mask_ratio: share of hidden patches.
        mixture: "learned" shares of low and high layers, "even" ones, learned shares of "deep" layers only, or the
            "last" layer alone, which is MAE.
        steps: optimiser steps; by default the size's own.
        pixels: side of the pictures; by default the size's own.
        batch_size: pictures a step; by default the size's own.
        base_lr: learning rate for 256 pictures; by default the size's own.
        precision: auto times both on this machine and takes the faster.
        time_limit: seconds after which training stops with a checkpoint.
        tracker: where curves go besides log.jsonl.
        seed: of weights, data order and masks.
    """
    chosen = choose_size(SIZES, size)
    pictures = Pictures(data, given(pixels, chosen.pixels))
    settings = Settings(
        steps=chosen.steps if steps is None else steps,
        batch_size=given(batch_size, chosen.batch),
        base_lr=given(base_lr, chosen.base_lr),
        warmup=chosen.warmup,
        betas=(0.9, 0.95),
        clip=0.0,
        ema=0.0,
        precision=precision,
        time_limit=time_limit,
        tracker=tracker,
        seed=seed,
    )
    taps = {"deep": chosen.deep, "last": (chosen.depth - 1,)}.get(mixture, chosen.taps)

    def build() -> FusedModelling:
        encoder = mae_vit(
            image_size=pictures.size,
            patch=chosen.patch,
            width=chosen.width,
            depth=chosen.depth,
            heads=chosen.heads,
        )
        decoder = MaeDecoder(
            pictures.size,
            chosen.patch,
            chosen.width,
            chosen.decoder_width,
            chosen.decoder_depth,
            chosen.decoder_heads,
        )
        target = PixelTarget(chosen.patch, mean=IMAGENET_MEAN, std=IMAGENET_STD, last=True)
        fusion = LayerFusion(chosen.width, len(taps), learned=mixture != "even")
        return FusedModelling(encoder, decoder, target, Random(mask_ratio), fusion, taps)

    differing = {"mask_ratio": (mask_ratio, 0.75), "mixture": (mixture, "learned")}
    options = {name: value for name, (value, usual) in differing.items() if value != usual}
    return Pretrain("mff", size, build, pictures, settings, options)
