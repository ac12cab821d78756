"""Meissonic: a masked text-to-image transformer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import cast

from torch import nn

from mimgen.encoders import ByteTextEncoder, ClipTextEncoder
from mimgen.generators import MeissonicTransformer
from mimgen.masking import CosineRate
from mimgen.objectives import MaskedTokens
from mimgen.pipelines import Preset
from mimgen.recipes import USUAL, Common, DiscreteTokenizer, FidWatch, TrainGenerator, choose_size


@dataclass(frozen=True)
class Size:
    """Numbers of one size; the width is `heads` * `head_width`, of the text encoder `text_width`.

    `compress` halves the token grid inside the blocks (the paper's feature compression); `places` is the
    side of a learned table of positions, 0 for none (as in the paper); `loud_text` quietens the constant
    micro-conditions and raises the pooled caption, for runs too short to learn that by themselves; `whole` is
    the share of pictures hidden entirely in training, which is where a caption is learned.
    """

    pixels: int
    joint_blocks: int
    single_blocks: int
    heads: int
    head_width: int
    text_width: int
    text_depth: int
    words: int
    compress: bool
    places: int
    loud_text: bool
    whole: float
    batch: int
    base_lr: float
    steps: int


SIZES = {
    "tiny": Size(16, 1, 1, 2, 16, 32, 1, 16, False, 4, False, 0.0, 8, 1e-2, 100),
    "quickstart": Size(32, 1, 4, 6, 32, 192, 1, 16, True, 8, True, 0.5, 32, 1.2e-2, 1500),
    "emoji64": Size(64, 1, 6, 6, 32, 192, 2, 16, True, 16, True, 0.5, 16, 1.6e-2, 20_000),
    "base": Size(256, 14, 28, 8, 128, 768, 6, 77, False, 0, False, 0.0, 512, 5e-5, 100_000),
}


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    tokenizer: str | None = None,
    codes: str | None = None,
    flips: bool = False,
    balance: str | None = None,
    whole: float | None = None,
    accumulation: int = 1,
    drop_condition: float = 0.1,
    clip: str | None = None,
    sampling_steps: int = 16,
    guidance: float = 3.0,
    temperature: float = 0.5,
    fid_every: int = 0,
    fid_pictures: int = 500,
    fid_weights: str | None = None,
    common: Common = USUAL,
) -> TrainGenerator:
    """Train a text-to-image generator: captions to code numbers, many at a time.

    Paper: Bai et al., "Meissonic: Revitalizing Masked Generative Transformers for Efficient High-Resolution
    Text-to-Image Synthesis", ICLR 2025 (arXiv 2410.08261).

    Command: mimgen train meissonic --size emoji64 --tokenizer runs/tokenizer --out runs/meissonic

    Expected: (measured 2026-11-21, 2 CPU cores, seed 0) --size quickstart, 898 steps in 8 minutes: composition R@5
    20.7 %, median rank 26.5 of 3,655.
    --size emoji64, 33,257 steps in about 6 hours beside other work (the last quarter with --balance group,
    --whole 0.7, then 0.9), one step without guidance at temperature 0: R@1 54.3 %, R@5 88.4 %, median 1.

    Args:
        size: tiny (seconds), quickstart (32 px, minutes), emoji64 (64 px, hours on a processor), base (the paper's).
        data: "emoji", or your pictures: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        tokenizer: folder of a trained tokenizer (its --out); without it one of the same size is trained first.
        codes: folder of `mimgen data cache-codes`; without it the code numbers are computed when the run starts.
        flips: mirror half of the pictures, drawn anew each time (own data and photos).
        balance: name of the labels by whose classes rare pictures are shown more often, such as group of the emoji.
        whole: share of pictures hidden entirely in training; by default the size's own.
        accumulation: micro-batches a step, where memory is short.
        drop_condition: share of captions replaced by the empty one, so that guidance works.
        clip: folder of a CLIP text encoder on disk (frozen); without it a small one is trained along.
        sampling_steps: steps in which a picture is made.
        guidance: how strongly a picture follows its caption; 1 is off.
        temperature: below 1 likelier tokens are preferred; 0.5 lies between 0.4 and 0.7, the
            better two of three tried on the toned emoji of `val` (1, 0.7, 0.4: R@5 5, 7, 13 %).
        fid_every: measure the FID to the training data every so many steps, into fid.jsonl; 0 for never.
        fid_pictures: how many pictures are made for that.
        fid_weights: file with Inception weights; without it the weight-free extractor lab-hog is taken.
        common: of every training, see `Common`.
    """
    chosen = choose_size(SIZES, size)
    if whole is not None:
        chosen = replace(chosen, whole=whole)
    settings = common.settings(chosen, accumulation=accumulation)

    extractor = "inception-v3-compat" if fid_weights else "lab-hog"
    watch = FidWatch(fid_every, fid_pictures, extractor=extractor, weights=fid_weights) if fid_every else None
    return TrainGenerator(
        "meissonic",
        size,
        partial(build, chosen, drop_condition, clip),
        tokenizer,
        common.pictures(data, chosen),
        settings,
        Preset(steps=sampling_steps, guidance_scale=guidance, token_temperature=temperature),
        codes,
        flips,
        balance=balance,
        fid=watch,
    )


def build(size: Size, drop_condition: float, clip: str | None, codes: DiscreteTokenizer) -> MaskedTokens:
    """The objective of a size, around a tokenizer, with fresh weights."""
    width = size.heads * size.head_width
    text_encoder: ByteTextEncoder | ClipTextEncoder = (
        ClipTextEncoder.from_pretrained(clip)
        if clip
        else ByteTextEncoder(
            width=size.text_width,
            depth=size.text_depth,
            max_words=size.words,
            pooled_gain=6.0 if size.loud_text else 1.0,
        )
    )
    # a 1-D tokenizer has one row of ids: nothing to halve, and as many learned places as ids
    row = getattr(codes, "grid", None)
    compress = size.compress and row is None
    table = row or ((size.places, size.places) if size.places else None)
    transformer = MeissonicTransformer(
        num_layers=size.joint_blocks,
        num_single_layers=size.single_blocks,
        attention_head_dim=size.head_width,
        num_attention_heads=size.heads,
        joint_attention_dim=text_encoder.width,
        pooled_projection_dim=width,
        pooled_text_dim=text_encoder.pooled_width,
        vocab_size=codes.codebook_size + 1,
        codebook_size=codes.codebook_size,
        downsample=compress,
        upsample=compress,
        micro_scale=0.02 if size.loud_text else 1.0,
        code_levels=getattr(codes, "levels", None),
        places=table,
    )
    # logits of as many tokens at a time as fill a quarter of a gigabyte, however large the codebook
    chunk = max(64, min(8192, 2**26 // codes.codebook_size))
    return MaskedTokens(
        transformer, text_encoder, cast(nn.Module, codes), drop_condition=drop_condition,
        masking=CosineRate(whole=size.whole), chunk=chunk,
    )  # fmt: skip
