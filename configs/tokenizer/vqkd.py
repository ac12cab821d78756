"""VQ-KD: the tokenizer of BEiT v2, whose codes tell what a teacher sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mimgen.encoders import open_patch_teacher
from mimgen.objectives import FeatureReconstruction
from mimgen.recipes import Pictures, TrainTokenizer, choose_size, given
from mimgen.targets import FeatureTarget, HogTarget, PixelTarget, Target
from mimgen.tokenizers import VqKd
from mimgen.training import Settings


@dataclass(frozen=True)
class Size:
    """Numbers of one size; (`pixels` / `patch`)^2 tokens."""

    pixels: int
    patch: int
    width: int
    depth: int
    heads: int
    decoder_depth: int
    codes: int
    code_dim: int
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(16, 4, 32, 1, 2, 1, 32, 8, 8, 3e-2, 10, 100),
    "emoji64": Size(64, 8, 192, 4, 3, 1, 512, 16, 32, 8e-3, 50, 600),
    "base": Size(224, 16, 768, 12, 12, 3, 8192, 32, 512, 1e-4, 25_000, 250_000),
}


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    teacher: str = "hog",
    steps: int | None = None,
    pixels: int | None = None,
    batch_size: int | None = None,
    base_lr: float | None = None,
    decoder_depth: int | None = None,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    time_limit: float | None = None,
    tracker: Literal["tensorboard", "wandb", "none"] = "tensorboard",
    seed: int = 0,
) -> TrainTokenizer:
    """Train a tokenizer whose codes tell a teacher's patch features: a target for masked image modelling.

    Paper: Peng et al., "BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers" (arXiv 2208.06366).

    Command: mimgen train vqkd --size emoji64 --out runs/vqkd

    Expected: not measured yet

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes), base (224 px, the paper's).
        data: "emoji", or your pictures: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        teacher: "hog" or "pixels", which need no weights, or the folder of an encoder (the paper's is CLIP).
        steps: optimiser steps; by default the size's own.
        pixels: side of the pictures; by default the size's own.
        batch_size: pictures a step; by default the size's own.
        base_lr: learning rate for 256 pictures; by default the size's own.
        decoder_depth: blocks of the decoder; the deeper, the fewer codes are used.
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
        warmup=chosen.warmup,
        min_lr_ratio=0.05,
        weight_decay=1e-4,
        # codes follow the live encoder, so averaged weights would not fit them
        ema=0.0,
        precision=precision,
        time_limit=time_limit,
        tracker=tracker,
        seed=seed,
    )

    def build() -> FeatureReconstruction:
        target = _target(teacher, chosen.patch)
        tokenizer = VqKd(
            pixels=given(pixels, chosen.pixels),
            patch=chosen.patch,
            width=chosen.width,
            depth=chosen.depth,
            heads=chosen.heads,
            decoder_depth=given(decoder_depth, chosen.decoder_depth),
            codebook_size=chosen.codes,
            code_dim=chosen.code_dim,
            feature_dim=target.dim,
        )
        return FeatureReconstruction(tokenizer, target)

    return TrainTokenizer("vqkd", size, build, Pictures(data, given(pixels, chosen.pixels)), settings)


def _target(teacher: str, patch: int) -> Target:
    """The teacher by the name or folder that the user gave."""
    if teacher == "hog":
        return HogTarget(patch)
    if teacher == "pixels":
        return PixelTarget(patch, normalise=False)
    return FeatureTarget(open_patch_teacher(teacher), patch=patch)
