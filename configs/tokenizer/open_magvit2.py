"""Open-MAGVIT2: a convolutional tokenizer with binary codes and an adaptive decoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mimgen.generators.initial_weights import load_initial_weights
from mimgen.methods import Reconstruction
from mimgen.recipes import DEFAULT_FLAGS, TrainFlags, TrainTokenizer, choose_size
from mimgen.tokenizers import OpenMagvit2, open_discriminator, open_perceptual


@dataclass(frozen=True)
class Size:
    """Numbers of one size; `pixels` / 2 ** (levels - 1) tokens per side, 2 ** `bits` codes."""

    pixels: int
    channels: int
    multipliers: tuple[int, ...]
    blocks: int
    bits: int
    batch: int
    base_lr: float
    steps: int


SIZES = {
    "tiny": Size(
        pixels=16, channels=16, multipliers=(1, 1, 2), blocks=1, bits=8, batch=8, base_lr=1.28e-1, steps=100,
    ),
    "emoji64": Size(
        pixels=64, channels=16, multipliers=(1, 2, 4), blocks=1, bits=11, batch=8, base_lr=6.4e-2, steps=1500,
    ),
    "base": Size(
        pixels=256, channels=128, multipliers=(1, 1, 2, 2, 4), blocks=4, bits=18, batch=256, base_lr=1e-4,
        steps=1_350_000,
    ),
    "fine": Size(
        pixels=128, channels=128, multipliers=(1, 2, 2, 4), blocks=4, bits=18, batch=256, base_lr=1e-4,
        steps=1_350_000,
    ),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    entropy: float = 0.1,
    adversarial: float = 0.0,
    adversarial_start: int = 1000,
    perceptual: str | None = None,
    init: str | None = None,
    common: TrainFlags = DEFAULT_FLAGS,
) -> TrainTokenizer:
    """Train Open-MAGVIT2's tokenizer; `base` has 16 pixels per token, `fine` has 8.

    Paper: Luo et al., "Open-MAGVIT2: An Open-Source Project Toward Democratizing Auto-regressive Visual
    Generation", 2024 (arXiv 2409.04410).

    Command: mimgen train open_magvit2 --size emoji64 --out runs/open_magvit2

    Expected: (measured 2026-11-21, 2 CPU cores, seed 0) --size emoji64, 3,200 images seen, untuned learning rate:
    PSNR 13.6 dB on the 176 of `val` of emoji (`mimgen compare tokenizers`).

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes on a processor), base (256 px, 16 pixels per token), fine (128 px,
            8 pixels per token).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        entropy: weight of the term that makes codes decided and evenly used; four times as much at the start.
        adversarial: weight of a PatchGAN that scores the images, scaled adaptively; 0 for none (Open-MAGVIT2: 0.8).
        adversarial_start: steps that the discriminator trains before the tokenizer's loss includes it.
        perceptual: folder with the weights of LPIPS (VGG-16 and linear heads); nothing is downloaded.
        init: folder of an earlier run whose tokenizer, and discriminator if it has one, are trained further.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)
    settings = common.settings(
        chosen,
        # the release trains with Adam, without decay and with little memory, for which few steps are too noisy
        weight_decay=0.0,
        betas=(0.5, 0.9) if chosen.batch > 8 else (0.9, 0.99),
    )

    def build() -> Reconstruction:
        tokenizer = OpenMagvit2(
            channels=chosen.channels,
            multipliers=chosen.multipliers,
            blocks=chosen.blocks,
            bits=chosen.bits,
            entropy=entropy,
        )
        discriminator = open_discriminator("patch", data_config.size) if adversarial else None
        objective = Reconstruction(
            tokenizer,
            discriminator,
            perceptual=open_perceptual(Path(perceptual) if perceptual else None),
            adversarial_weight=adversarial,
            adversarial_start=adversarial_start,
            adversarial="non_saturate",
            lecam=0.05,
            entropy_boost=3.0,
        )
        return load_initial_weights(objective, init)

    return TrainTokenizer("open_magvit2", size, build, data_config, settings)
