"""TiTok's generator: a masked transformer over a short row of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from torch import nn

from mimgen.generators import ClassTokens, TiTokMaskGit
from mimgen.generators.titok_maskgit.model import released_preset
from mimgen.pipelines import Preset
from mimgen.pipelines.parts import token_grid
from mimgen.recipes import (
    DEFAULT_FLAGS,
    FidWatch,
    TrainFlags,
    TrainGenerator,
    choose_size,
    class_names,
)
from mimgen.tokenizers import Tokenizer


@dataclass(frozen=True)
class Size:
    """Numbers of one size."""

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
    "tiny": Size(pixels=16, width=32, depth=2, heads=2, hidden=96, batch=8, base_lr=3e-2, warmup=10, steps=100),
    "emoji64": Size(pixels=64, width=192, depth=6, heads=6, hidden=768, batch=16, base_lr=8e-3, warmup=100,
                    steps=6000),
    "base": Size(pixels=256, width=768, depth=24, heads=16, hidden=3072, batch=2048, base_lr=2.5e-5, warmup=10_000,
                 steps=500_000),
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
    body: Literal["bert", "uvit"] = "bert",
    sampling_steps: int = 8,
    guidance: float = 4.0,
    temperature: float = 4.5,
    fid_every: int = 0,
    fid_images: int = 500,
    fid_weights: str | None = None,
    common: TrainFlags = DEFAULT_FLAGS,
) -> TrainGenerator:
    """Train a class-conditional generator: a class to code numbers, many at a time.

    Paper: Yu et al., "An Image is Worth 32 Tokens for Reconstruction and Generation", NeurIPS 2024 (arXiv 2406.07550).

    Command: mimgen train titok_maskgit --size emoji64 --tokenizer runs/titok --out runs/titok_maskgit

    Expected: not measured on a full run yet.

    Args:
        size: tiny (seconds), emoji64 (64 px, an hour on a processor), base (256 px, TiTok's, with 32 to 128 tokens).
        data: "emoji", or your images sorted into a folder for each class, shards, a saved Hugging Face dataset.
        tokenizer: folder of a trained tokenizer (its --out); without it a TiTok of the same size is trained first.
        codes: folder of `mimgen data cache-codes`; without it the code numbers are computed when the run starts.
        label: the labels that are generated: group or subgroup of the emoji; by default the first of the data.
        flips: mirror half of the images, generated anew each time (own data and photos).
        balance: name of the labels by whose classes rare images are shown more often.
        drop_label: share of images whose class is dropped, so that guidance works.
        checkpointing: keep the inputs of blocks only, where memory is short; a step costs a forward pass more.
        body: post-norm blocks (bert), or pre-norm ones whose second half reads the first half's outputs (uvit).
        sampling_steps: steps in which an image is made.
        guidance: how strongly an image follows its class; 1 is off.
        temperature: of the first step, for tokens and their confidence; it falls to 0 with the last.
        fid_every: measure the FID to the training data every so many steps, into fid.jsonl; 0 for never.
        fid_images: how many images are made for that.
        fid_weights: file with Inception weights; without it the weight-free extractor lab-hog is taken.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)

    def build(codes: Tokenizer) -> ClassTokens:
        name, classes = class_names(data_config, label)
        rows, columns = token_grid(codes, data_config.size, data_config.size)
        transformer = TiTokMaskGit(
            codebook_size=codes.codebook_size,
            length=rows * columns,
            classes=len(classes),
            body=body,
            width=chosen.width,
            depth=chosen.depth,
            heads=chosen.heads,
            hidden=chosen.hidden,
        )
        # visible tokens count a tenth, as in the release
        return ClassTokens(
            transformer, cast(nn.Module, codes), label=name, classes=classes, drop_label=drop_label,
            label_smoothing=0.1, visible_weight=0.1,
        )  # fmt: skip

    return TrainGenerator(
        name="titok_maskgit",
        size=size,
        build=build,
        tokenizer=tokenizer,
        data_config=data_config,
        settings=common.settings(chosen, weight_decay=0.03, betas=(0.9, 0.96)),
        sampling=Preset(**released_preset(sampling_steps, guidance_scale=guidance, temperature=temperature)),
        codes=codes,
        flips=flips,
        balance=balance,
        fid=FidWatch.of_flags(fid_every, fid_images, fid_weights),
        recomputed=checkpointing,
        tokenizer_config="titok",
    )
