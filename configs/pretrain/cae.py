"""CAE: a regressor tells the representations of hidden patches, and a decoder what they are, from these alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mimgen.data import Dataset
from mimgen.encoders.cae import CaeDecoder, CaeEncoder
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.errors import UserError
from mimgen.masking import Block
from mimgen.objectives.cae import ContextAutoencoder
from mimgen.pipelines.parts import token_grid
from mimgen.recipes import DiscreteTokenizer, Pictures, Pretrain, choose_size, given, load_tokenizer
from mimgen.targets import CodeTarget, PixelTarget, Target
from mimgen.tokenizers import CentroidTokenizer, fit_centroids
from mimgen.training import Settings


@dataclass(frozen=True)
class Size:
    """Numbers of one size; `least` patches has the smallest block, `regressor` and `decoder` count blocks."""

    pixels: int
    patch: int
    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_heads: int
    regressor: int
    decoder: int
    drop_path: float
    least: int
    codes: int
    per_code: int
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(16, 4, 32, 2, 2, 24, 2, 1, 1, 0.0, 2, 32, 64, 8, 3e-2, 10, 100),
    "emoji64": Size(64, 8, 192, 6, 3, 128, 4, 2, 2, 0.0, 4, 512, 128, 64, 4e-3, 200, 4000),
    "small": Size(224, 16, 384, 12, 6, 384, 6, 4, 4, 0.1, 16, 8192, 256, 2048, 1.875e-4, 12_500, 500_000),
    "base": Size(224, 16, 768, 12, 12, 768, 12, 4, 4, 0.1, 16, 8192, 256, 2048, 1.875e-4, 12_500, 500_000),
    "large": Size(224, 16, 1024, 24, 16, 1024, 16, 4, 4, 0.1, 16, 8192, 256, 2048, 1.875e-4, 12_500, 500_000),
}


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    target: Literal["codes", "pixels"] = "codes",
    tokenizer: str | None = None,
    align_weight: float = 2.0,
    mask_ratio: float = 0.5,
    steps: int | None = None,
    pixels: int | None = None,
    batch_size: int | None = None,
    base_lr: float | None = None,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    time_limit: float | None = None,
    tracker: Literal["tensorboard", "wandb", "none"] = "tensorboard",
    seed: int = 0,
) -> Pretrain:
    """Pretrain an encoder: tell representations and codes of hidden blocks in two steps.

    Paper: "Context Autoencoder for Self-Supervised Representation Learning" (arXiv 2202.03026).

    Command: mimgen train cae --size emoji64 --out runs/cae

    Expected: not measured yet

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes), small, base and large (ViT-S/16, ViT-B/16 and ViT-L/16 at
            224 px, 800 epochs of ImageNet, the paper's but for its tokenizer).
        data: "emoji", or your pictures: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        target: codes of a tokenizer, or pixels normalised by patch.
        tokenizer: folder of a tokenizer with the size's patch; without it, centroids are built first.
        align_weight: of the representations of hidden patches; 0 leaves the codes or pixels alone.
        mask_ratio: share of hidden patches, in blocks.
        steps: optimiser steps; by default the size's own.
        pixels: side of the pictures; by default the size's own.
        batch_size: pictures a step; by default the size's own.
        base_lr: learning rate for 256 pictures; by default the size's own.
        precision: auto times both on this machine and takes the faster.
        time_limit: seconds after which training stops with a checkpoint.
        tracker: where curves go besides log.jsonl.
        seed: of weights, data order and masks.
    """
    if tokenizer and target != "codes":
        raise UserError(f"--target {target} needs no tokenizer: leave --tokenizer out")
    chosen = choose_size(SIZES, size)
    pictures = Pictures(data, given(pixels, chosen.pixels))
    settings = Settings(
        steps=chosen.steps if steps is None else steps,
        batch_size=given(batch_size, chosen.batch),
        base_lr=given(base_lr, chosen.base_lr),
        warmup=chosen.warmup,
        min_lr_ratio=1 / 150,
        betas=(0.9, 0.999),
        clip=3.0,
        ema=0.0,
        precision=precision,
        time_limit=time_limit,
        tracker=tracker,
        seed=seed,
    )

    def build() -> ContextAutoencoder:
        goal = _target(target, tokenizer, pictures, chosen)
        encoder = CaeEncoder(
            pictures.size,
            chosen.patch,
            chosen.width,
            chosen.depth,
            chosen.heads,
            drop_path=chosen.drop_path,
        )
        decoder = CaeDecoder(
            goal.dim,
            chosen.width,
            chosen.decoder_width,
            chosen.regressor,
            chosen.decoder,
            chosen.decoder_heads,
        )
        hidden = round(mask_ratio * (pictures.size // chosen.patch) ** 2)
        return ContextAutoencoder(
            encoder, decoder, goal, Block(hidden, min(chosen.least, hidden)), align_weight=align_weight
        )

    differing = {
        "target": (target, "codes"),
        "tokenizer": (tokenizer, None),
        "align_weight": (align_weight, 2.0),
        "mask_ratio": (mask_ratio, 0.5),
    }
    options = {name: value for name, (value, usual) in differing.items() if value != usual}
    return Pretrain("cae", size, build, pictures, settings, options)


def _target(name: str, tokenizer: str | None, pictures: Pictures, size: Size) -> Target:
    """What is predicted for a hidden patch."""
    if name == "pixels":
        return PixelTarget(size.patch, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return CodeTarget(_codes_of(tokenizer, pictures, size.patch) if tokenizer else _centroids(pictures, size))


def _codes_of(folder: str, pictures: Pictures, patch: int) -> DiscreteTokenizer:
    """A tokenizer with one code a patch."""
    codes = load_tokenizer(folder)
    rows, columns = token_grid(codes, pictures.size, pictures.size)
    if rows * patch != pictures.size or columns != rows:
        raise UserError(
            f"the tokenizer in {folder} has {rows} x {columns} codes a picture of {pictures.size} px; patches of "
            f"{patch} px need one code each: pass another --tokenizer, or none"
        )
    return codes


def _centroids(pictures: Pictures, size: Size) -> CentroidTokenizer:
    """Centroids of the run's own pictures."""
    dataset = pictures.open()
    if not isinstance(dataset, Dataset):
        raise UserError(f"{dataset.name} is a stream: build centroids from a part on disk and pass --tokenizer")
    return fit_centroids(dataset, patch=size.patch, codebook_size=size.codes, per_code=size.per_code)
