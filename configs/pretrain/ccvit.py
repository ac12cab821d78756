"""CCViT: masked image modelling with k-means centroids of patches as codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mimgen.data import Dataset
from mimgen.encoders import BeitPretraining
from mimgen.errors import UserError
from mimgen.masking import Block
from mimgen.objectives import CentroidModelling
from mimgen.pipelines.parts import token_grid
from mimgen.recipes import DiscreteTokenizer, Pictures, Pretrain, choose_size, given, load_tokenizer
from mimgen.tokenizers import CentroidTokenizer, fit_centroids
from mimgen.training import Settings


@dataclass(frozen=True)
class Size:
    """Numbers of one size; `hidden` and `replaced` of (`pixels` / `patch`)^2 patches enter the loss."""

    pixels: int
    patch: int
    width: int
    depth: int
    heads: int
    early_layers: int
    head_layers: int
    codes: int
    per_code: int
    hidden: int
    least: int
    replaced: int
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(16, 4, 32, 2, 2, 1, 1, 32, 64, 6, 2, 2, 8, 3e-2, 10, 100),
    "emoji64": Size(64, 8, 192, 6, 3, 4, 1, 512, 128, 24, 4, 6, 32, 8e-3, 100, 1000),
    "base": Size(224, 16, 768, 12, 12, 9, 2, 8192, 256, 75, 16, 20, 2048, 1.875e-4, 6250, 187_500),
}


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    tokenizer: str | None = None,
    steps: int | None = None,
    pixels: int | None = None,
    batch_size: int | None = None,
    base_lr: float | None = None,
    code_weight: float = 1.0,
    pixel_weight: float = 1.0,
    replaced: int | None = None,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    time_limit: float | None = None,
    tracker: Literal["tensorboard", "wandb", "none"] = "tensorboard",
    seed: int = 0,
) -> Pretrain:
    """Pretrain an encoder: tell the centroid and the pixels of hidden patches and of patches shown as centroids.

    Paper: "Centroid-centered Modeling for Efficient Vision Transformer Pre-training" (arXiv 2303.04664).

    Command: mimgen train ccvit --size emoji64 --out runs/ccvit

    Expected: not measured yet

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes), base (ViT-B/16 at 224 px, the paper's).
        data: "emoji", or your pictures: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        tokenizer: folder of a tokenizer with the size's patch; without it, centroids are built first.
        steps: optimiser steps; by default the size's own.
        pixels: side of the pictures; by default the size's own.
        batch_size: pictures a step; by default the size's own.
        base_lr: learning rate for 256 pictures; by default the size's own.
        code_weight: weight of the cross-entropy; 0 leaves the pixels alone.
        pixel_weight: weight of the squared error; 0 leaves the codes alone.
        replaced: visible patches shown as centroids; by default the size's own, 0 for none.
        precision: auto times both on this machine and takes the faster.
        time_limit: seconds after which training stops with a checkpoint.
        tracker: where curves go besides log.jsonl.
        seed: of weights, data order and noise.
    """
    chosen = choose_size(SIZES, size)
    pictures = Pictures(data, given(pixels, chosen.pixels))
    settings = Settings(
        steps=chosen.steps if steps is None else steps,
        batch_size=given(batch_size, chosen.batch),
        base_lr=given(base_lr, chosen.base_lr),
        warmup=chosen.warmup,
        betas=(0.9, 0.98),
        clip=3.0,
        ema=0.0,
        precision=precision,
        time_limit=time_limit,
        tracker=tracker,
        seed=seed,
    )

    def build() -> CentroidModelling:
        codes = _codes_of(tokenizer, pictures, chosen.patch) if tokenizer else _centroids(pictures, chosen)
        encoder = BeitPretraining(
            pixels=pictures.size,
            patch=chosen.patch,
            width=chosen.width,
            depth=chosen.depth,
            heads=chosen.heads,
            codes=codes.codebook_size,
            early_layers=chosen.early_layers,
            head_layers=chosen.head_layers,
            second=3 * chosen.patch**2,
        )
        return CentroidModelling(
            encoder,
            codes,
            Block(chosen.hidden, chosen.least),
            replaced=chosen.replaced if replaced is None else replaced,
            code_weight=code_weight,
            pixel_weight=pixel_weight,
        )

    return Pretrain("ccvit", size, build, pictures, settings)


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
