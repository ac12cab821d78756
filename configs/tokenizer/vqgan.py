"""VQGAN: a convolutional tokenizer with a codebook."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mimgen.generators.initial_weights import load_initial_weights
from mimgen.methods import Reconstruction
from mimgen.recipes import DEFAULT_FLAGS, TrainFlags, TrainTokenizer, choose_size
from mimgen.tokenizers import ConvTokenizer, open_discriminator, open_perceptual
from mimgen.tokenizers.discriminators import DiscriminatorKind


@dataclass(frozen=True)
class Size:
    """Numbers of one size; `pixels` / (`stem` * 2 ** (levels - 1)) tokens per side."""

    pixels: int
    channels: int
    multipliers: tuple[int, ...]
    blocks: int
    stem: int
    latent: int
    codes: int
    levels: tuple[int, ...]
    local: bool
    batch: int
    base_lr: float
    steps: int


SIZES = {
    "tiny": Size(
        pixels=16, channels=16, multipliers=(1,), blocks=1, stem=4, latent=8, codes=64, levels=(4, 4, 4),
        local=True, batch=8, base_lr=1e-2, steps=100,
    ),
    "quickstart": Size(
        pixels=32, channels=96, multipliers=(1,), blocks=2, stem=4, latent=16, codes=1024, levels=(8, 5, 5, 5),
        local=True, batch=16, base_lr=4.8e-2, steps=1500,
    ),
    "emoji64": Size(
        pixels=64, channels=96, multipliers=(1,), blocks=2, stem=4, latent=16, codes=2048, levels=(8, 8, 6, 5),
        local=True, batch=8, base_lr=9.6e-2, steps=5000,
    ),
    "base": Size(
        pixels=256, channels=128, multipliers=(1, 1, 2, 4), blocks=2, stem=2, latent=256, codes=8192,
        levels=(8, 8, 8, 6, 5), local=False, batch=256, base_lr=1e-4, steps=200_000,
    ),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    quantizer: Literal["vq", "lfq", "fsq", "bsq", "simvq", "ibq", "residual"] = "fsq",
    adversarial: float = 0.0,
    adversarial_start: int = 1000,
    discriminator: DiscriminatorKind = "patch",
    discriminator_weights: str | None = None,
    perceptual: str | None = None,
    init: str | None = None,
    common: TrainFlags = DEFAULT_FLAGS,
) -> TrainTokenizer:
    """Train a tokenizer: images to a small grid of code numbers, and back.

    Paper: Esser et al., "Taming Transformers for High-Resolution Image Synthesis", 2021 (arXiv 2012.09841).

    Command: mimgen train vqgan --size emoji64 --out runs/tokenizer

    Expected: (measured 2026-11-21, 2 CPU cores, seed 0) PSNR on the emoji `val` split: --size emoji64, 3,400 steps in 7
    minutes: 26.7 dB; --size quickstart, 1,414 steps in 1.8 minutes: 23.5 dB.

    Args:
        size: tiny (seconds), quickstart (32 px, minutes), emoji64 (64 px, hours on a processor), base (256 px).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        quantizer: vq (learned codes), lfq (binary codes), fsq (rounded values), bsq (binary codes on a sphere),
            simvq (learned codes that move together), ibq (learned codes, gradients to all of them),
            residual (sums of two learned codes). All have about the size's number of codes.
        adversarial: weight of a discriminator that scores the images, scaled adaptively; 0 for none (VQGAN: 0.8).
        adversarial_start: steps that the discriminator trains before the tokenizer's loss includes it.
        discriminator: patch (PatchGAN), maskbit, blur, stylegan or dino (frozen features, small heads).
        discriminator_weights: file with the DINO ViT-S/16 weights, for dino only; nothing is downloaded.
        perceptual: folder with the weights of LPIPS (VGG-16 and linear heads); nothing is downloaded.
        init: folder of an earlier run whose tokenizer, and discriminator if it has one, are trained further.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)

    def build() -> Reconstruction:
        critic = open_discriminator(discriminator, data_config.size, discriminator_weights) if adversarial else None
        objective = Reconstruction(
            _tokenizer(chosen, quantizer),
            critic,
            l2=1.0,
            perceptual=open_perceptual(Path(perceptual) if perceptual else None),
            adversarial_weight=adversarial,
            adversarial_start=adversarial_start,
        )
        return load_initial_weights(objective, init)

    return TrainTokenizer("vqgan", size, build, data_config, common.settings(chosen))


def _tokenizer(size: Size, quantizer: str) -> ConvTokenizer:
    """The network of a size, with about the size's number of codes whatever the quantizer."""
    bits = (size.codes - 1).bit_length()
    return ConvTokenizer(
        channels=size.channels,
        multipliers=size.multipliers,
        blocks=size.blocks,
        stem=size.stem,
        # LFQ and BSQ have 2 ** latent codes, so their latent is as wide as the codebook has bits.
        latent=bits if quantizer in ("lfq", "bsq") else size.latent,
        quantizer=quantizer,
        # Two residual levels share the bits of an id.
        codebook_size=2 ** ((bits + 1) // 2) if quantizer == "residual" else size.codes,
        levels=size.levels,
        local=size.local,
    )
