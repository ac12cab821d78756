"""MaskGIT: a masked transformer that generates images of a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import nn

from mimgen.generators import ClassTokens, ClassTransformer
from mimgen.generators.maskgit.model import released_preset
from mimgen.pipelines import Preset
from mimgen.recipes import (
    DEFAULT_FLAGS,
    FidWatch,
    TrainFlags,
    TrainGenerator,
    choose_size,
    class_names,
    square_grid,
)
from mimgen.tokenizers import Tokenizer


@dataclass(frozen=True)
class Size:
    """Numbers of one size; `hidden` is the width of a plain MLP, of which the gated one takes two thirds."""

    pixels: int
    width: int
    depth: int
    heads: int
    hidden: int
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(pixels=16, width=32, depth=1, heads=2, hidden=96, batch=8, base_lr=6e-2, warmup=10, steps=100),
    "emoji64": Size(pixels=64, width=192, depth=6, heads=6, hidden=768, batch=16, base_lr=1.6e-2, warmup=100,
                    steps=6000),
    "base": Size(pixels=256, width=768, depth=24, heads=8, hidden=3072, batch=256, base_lr=1e-4, warmup=5000,
                 steps=1_500_000),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    tokenizer: str | None = None,
    codes: str | None = None,
    label: str | None = None,
    flips: bool = False,
    balance: str | None = None,
    drop_label: float = 0.1,
    checkpointing: bool = False,
    sampling_steps: int = 16,
    guidance: float = 3.0,
    temperature: float = 1.0,
    fid_every: int = 0,
    fid_images: int = 500,
    fid_weights: str | None = None,
    common: TrainFlags = DEFAULT_FLAGS,
) -> TrainGenerator:
    """Train a class-conditional generator: a class to code numbers, many at a time.

    Paper: Chang et al., "MaskGIT: Masked Generative Image Transformer", CVPR 2022 (arXiv 2202.04200), with the
    transformer and the Halton order of Besnier et al., ICLR 2025 (arXiv 2503.17076).

    Command: mimgen train maskgit --size emoji64 --tokenizer runs/tokenizer --out runs/maskgit

    Expected: not measured on a full run yet.

    Args:
        size: tiny (seconds), emoji64 (64 px, an hour on a processor), base (256 px, MaskGIT's).
        data: "emoji", or your images sorted into a folder for each class, shards, a saved Hugging Face dataset.
        tokenizer: folder of a trained tokenizer (its --out); without it one of the same size is trained first.
        codes: folder of `mimgen data cache-codes`; without it the code numbers are computed when the run starts.
        label: the labels that are generated: group or subgroup of the emoji; by default the first of the data.
        flips: mirror half of the images, generated anew each time (own data and photos).
        balance: name of the labels by whose classes rare images are shown more often.
        drop_label: share of images whose class is dropped, so that guidance works.
        checkpointing: keep the inputs of blocks only, where memory is short; a step costs a forward pass more.
        sampling_steps: steps in which an image is made.
        guidance: how strongly an image follows its class at the end of a run of sampling; 1 is off.
        temperature: below 1 likelier tokens are preferred.
        fid_every: measure the FID to the training data every so many steps, into fid.jsonl; 0 for never.
        fid_images: how many images are made for that.
        fid_weights: file with Inception weights; without it the weight-free extractor lab-hog is taken.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)

    def build(codes: Tokenizer) -> ClassTokens:
        name, classes = class_names(data_config, label)
        transformer = ClassTransformer(
            side=square_grid(codes, data_config.size),
            codebook_size=codes.codebook_size,
            classes=len(classes),
            width=chosen.width,
            depth=chosen.depth,
            heads=chosen.heads,
            hidden=chosen.hidden,
        )
        # MaskGIT smooths by 0.1 and scores masked tokens only
        return ClassTokens(
            transformer, cast(nn.Module, codes), label=name, classes=classes, drop_label=drop_label,
            label_smoothing=0.1,
        )  # fmt: skip

    return TrainGenerator(
        name="maskgit",
        size=size,
        build=build,
        tokenizer=tokenizer,
        data_config=data_config,
        settings=common.settings(chosen, betas=(0.9, 0.96)),
        sampling=Preset(
            **released_preset(sampling_steps, guidance_scale=guidance), token_temperature=temperature
        ),
        codes=codes,
        flips=flips,
        balance=balance,
        fid=FidWatch.of_flags(fid_every, fid_images, fid_weights),
        recomputed=checkpointing,
    )
