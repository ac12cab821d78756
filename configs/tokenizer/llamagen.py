"""LlamaGen: a convolutional tokenizer with short codes on a sphere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mimgen.objectives import Reconstruction, start_from
from mimgen.recipes import Pictures, TrainTokenizer, choose_size, given
from mimgen.tokenizers import LlamaGenVQ, open_discriminator, open_perceptual
from mimgen.training import Settings


@dataclass(frozen=True)
class Size:
    """Numbers of one size; `pixels` / 2 ** (levels - 1) tokens a side."""

    pixels: int
    channels: int
    multipliers: tuple[int, ...]
    blocks: int
    z_channels: int
    codes: int
    code_dim: int
    batch: int
    base_lr: float
    steps: int
    adversarial_start: int


SIZES = {
    "tiny": Size(16, 32, (1, 1, 1), 1, 32, 64, 8, 8, 3.2e-2, 100, 50),
    "emoji64": Size(64, 32, (1, 1, 2), 1, 64, 1024, 8, 8, 3.2e-2, 1500, 750),
    "base": Size(256, 128, (1, 1, 2, 2, 4), 2, 256, 16384, 8, 128, 2e-4, 400_000, 20_000),
    "vq8": Size(256, 128, (1, 2, 2, 4), 2, 256, 16384, 8, 128, 2e-4, 400_000, 20_000),
}


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    steps: int | None = None,
    pixels: int | None = None,
    batch_size: int | None = None,
    base_lr: float | None = None,
    entropy: float = 0.0,
    adversarial: float = 0.0,
    perceptual: str | None = None,
    start: str | None = None,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    time_limit: float | None = None,
    tracker: Literal["tensorboard", "wandb", "none"] = "tensorboard",
    seed: int = 0,
) -> TrainTokenizer:
    """Train LlamaGen's tokenizer; `base` is VQ-16 (16 pixels a token), `vq8` is VQ-8.

    Paper: Sun et al., "Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation", 2024
    (arXiv 2406.06525).

    Command: mimgen train llamagen --size emoji64 --out runs/llamagen

    Expected: (measured 2026-11-21, 2 loaded CPU cores, seed 0) --size emoji64, 3,200 pictures seen, emoji `val`:
    20.2 dB, 59 % of 1,024 codes in use.

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes on a processor), base (VQ-16, 256 px), vq8 (VQ-8, 256 px).
        data: "emoji", or your pictures: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        steps: optimiser steps; by default the size's own.
        pixels: side of the pictures; by default the size's own.
        batch_size: pictures a step; by default the size's own.
        base_lr: learning rate for 256 pictures; by default the size's own.
        entropy: weight of the term that spreads the use of the codes; 0 as in the release.
        adversarial: weight of a PatchGAN that judges the pictures (LlamaGen: 0.5); 0 for none.
        perceptual: folder with the weights of LPIPS (VGG-16 and linear heads); nothing is downloaded.
        start: folder of an earlier run whose tokenizer, and discriminator if it has one, are trained further.
        precision: auto times both on this machine and takes the faster.
        time_limit: seconds after which training stops with a checkpoint.
        tracker: where curves go besides log.jsonl.
        seed: of weights, data order and noise.
    """
    chosen = choose_size(SIZES, size)
    settings = Settings(
        steps=chosen.steps if steps is None else steps,
        batch_size=given(batch_size, chosen.batch),
        base_lr=given(base_lr, chosen.base_lr),
        # the release trains with Adam, without decay and with a constant rate
        weight_decay=0.0,
        betas=(0.9, 0.95),
        precision=precision,
        time_limit=time_limit,
        tracker=tracker,
        seed=seed,
    )

    def build() -> Reconstruction:
        tokenizer = LlamaGenVQ(
            channels=chosen.channels,
            multipliers=chosen.multipliers,
            blocks=chosen.blocks,
            z_channels=chosen.z_channels,
            codebook_size=chosen.codes,
            code_dim=chosen.code_dim,
            entropy=entropy,
        )
        judge = open_discriminator("patch", given(pixels, chosen.pixels)) if adversarial else None
        objective = Reconstruction(
            tokenizer,
            judge,
            l1=0.0,
            l2=1.0,
            perceptual=open_perceptual(Path(perceptual) if perceptual else None),
            adversarial_weight=adversarial,
            adversarial_start=chosen.adversarial_start,
            discriminator_start=chosen.adversarial_start,
            adaptive=False,
        )
        return start_from(objective, start)

    return TrainTokenizer("llamagen", size, build, Pictures(data, given(pixels, chosen.pixels)), settings)
