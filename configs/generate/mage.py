"""MAGE: one transformer that generates images and gives their features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import nn

from mimgen.generators import MAGE, MageTransformer
from mimgen.generators.mage.model import released_preset
from mimgen.pipelines import Preset
from mimgen.recipes import (
    DEFAULT_FLAGS,
    FidWatch,
    TrainFlags,
    TrainGenerator,
    choose_size,
    square_grid,
)
from mimgen.tokenizers import Tokenizer


@dataclass(frozen=True)
class Size:
    """Numbers of one size: of the encoder, and of the decoder behind it."""

    pixels: int
    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(pixels=16, width=32, depth=1, heads=2, decoder_width=32, decoder_depth=1, decoder_heads=2, batch=8,
                 base_lr=3e-2, warmup=10, steps=100),
    "emoji64": Size(pixels=64, width=192, depth=6, heads=6, decoder_width=192, decoder_depth=4, decoder_heads=6,
                    batch=16, base_lr=8e-3, warmup=100, steps=6000),
    "base": Size(pixels=256, width=768, depth=12, heads=12, decoder_width=768, decoder_depth=8, decoder_heads=16,
                 batch=4096, base_lr=1.5e-4, warmup=12_500, steps=500_000),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    tokenizer: str | None = None,
    codes: str | None = None,
    flips: bool = False,
    balance: str | None = None,
    checkpointing: bool = False,
    sampling_steps: int = 20,
    temperature: float = 4.5,
    fid_every: int = 0,
    fid_images: int = 500,
    fid_weights: str | None = None,
    common: TrainFlags = DEFAULT_FLAGS,
) -> TrainGenerator:
    """Train an unconditional generator whose encoder gives features: predict code numbers from the few visible ones.

    Paper: Li et al., "MAGE: MAsked Generative Encoder to Unify Representation Learning and Image Synthesis", CVPR 2023
    (arXiv 2211.09117).

    Command: mimgen train mage --size emoji64 --tokenizer runs/tokenizer --out runs/mage

    Expected: not measured on a full run yet.

    Args:
        size: tiny (seconds), emoji64 (64 px, an hour on a processor), base (256 px, the paper's ViT-B).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        tokenizer: folder of a trained tokenizer (its --out); without it one of the same size is trained first.
        codes: folder of `mimgen data cache-codes`; without it the code numbers are computed when the run starts.
        flips: mirror half of the images, generated anew each time (own data and photos).
        balance: name of the labels by whose classes rare images are shown more often.
        checkpointing: keep the inputs of blocks only, where memory is short; a step costs a forward pass more.
        sampling_steps: steps in which an image is made.
        temperature: of the noise on the confidence in the first step; it falls to 0 with the last. Higher is more
            diverse.
        fid_every: measure the FID to the training data every so many steps, into fid.jsonl; 0 for never.
        fid_images: how many images are made for that.
        fid_weights: file with Inception weights; without it the weight-free extractor lab-hog is taken.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)

    def build(codes: Tokenizer) -> MAGE:
        transformer = MageTransformer(
            side=square_grid(codes, data_config.size),
            codebook_size=codes.codebook_size,
            width=chosen.width,
            depth=chosen.depth,
            heads=chosen.heads,
            decoder_width=chosen.decoder_width,
            decoder_depth=chosen.decoder_depth,
            decoder_heads=chosen.decoder_heads,
        )
        return MAGE(transformer, cast(nn.Module, codes))

    return TrainGenerator(
        name="mage",
        size=size,
        build=build,
        tokenizer=tokenizer,
        data_config=data_config,
        settings=common.settings(chosen, weight_decay=0.05, betas=(0.9, 0.95)),
        sampling=Preset(**released_preset(sampling_steps, temperature=temperature)),
        codes=codes,
        flips=flips,
        balance=balance,
        fid=FidWatch.of_flags(fid_every, fid_images, fid_weights),
        recomputed=checkpointing,
    )
