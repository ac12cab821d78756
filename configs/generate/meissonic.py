"""Meissonic: a masked text-to-image transformer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from torch import nn

from mimgen.encoders import ByteTextEncoder, CachedText, ClipTextEncoder
from mimgen.errors import UserError
from mimgen.generators import MeissonicTransformer
from mimgen.generators.meissonic.objective import MaskedTokens
from mimgen.masking import CosineRate
from mimgen.pipelines import Preset
from mimgen.recipes import (
    DEFAULT_FLAGS,
    FidWatch,
    InitFrom,
    TrainFlags,
    TrainGenerator,
    choose_size,
    open_text_encoder,
    value_or,
)
from mimgen.recipes.init_from import adapters, open_frozen
from mimgen.tokenizers import Tokenizer
from mimgen.training.lora import Layers

TextEncoder = ByteTextEncoder | ClipTextEncoder | CachedText
OFFICIAL_TIMESTEP_SCALE = 1000.0  # times the rate, in the release's training
ADAPTER_STEPS = 1000  # enough for adapters on the few images that they are meant for


@dataclass(frozen=True)
class Size:
    """Numbers of one size; the width is `heads` * `head_width`, of the text encoder `text_width`.

    `compress` halves the token grid inside the blocks (the paper's feature compression); `positions` is the
    side of a learned table of positions, 0 for none (as in the paper); `text_gain` quietens the constant
    micro-conditions and raises the pooled caption, for runs too short to learn that by themselves; `full_mask_prob` is
    the share of images masked entirely in training, which is where a caption is learned; `clip` is the largest
    gradient norm; `constant_lr` keeps the learning rate as it is after the warm-up; `needs_scores` demands
    preference scores of the data; `tokenizer` is the size of the tokenizer that is trained where none is
    given, if of another name.
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
    positions: int
    text_gain: bool
    full_mask_prob: float
    batch: int
    base_lr: float
    steps: int
    clip: float = 1.0
    constant_lr: bool = False
    needs_scores: bool = False
    tokenizer: str | None = None


# The paper's four stages: learning rate 1e-4 whatever the batch (ours is for 256 images), clipped at 10. Of the
# last, with a low learning rate and the preference score, it gives no figures: these are ours.
_STAGE = Size(
    pixels=256, joint_blocks=14, single_blocks=28, heads=8, head_width=128, text_width=1024, text_depth=6,
    words=77, compress=False, positions=0, text_gain=False, full_mask_prob=0.0, batch=2048, base_lr=1.25e-5,
    steps=100_000, clip=10.0, constant_lr=True, needs_scores=False, tokenizer="base",
)
_STAGE_1024 = replace(_STAGE, pixels=1024, compress=True, batch=256, base_lr=1e-4, steps=42_000)
_TINY = Size(
    pixels=16, joint_blocks=1, single_blocks=1, heads=2, head_width=16, text_width=32, text_depth=1, words=16,
    compress=False, positions=0, text_gain=False, full_mask_prob=0.0, batch=8, base_lr=1e-2, steps=100,
    clip=10.0, constant_lr=True, needs_scores=False, tokenizer="tiny",
)
_TINY_1024 = replace(_TINY, pixels=32, compress=True)

SIZES = {
    "tiny": Size(
        pixels=16, joint_blocks=1, single_blocks=1, heads=2, head_width=16, text_width=32, text_depth=1,
        words=16, compress=False, positions=4, text_gain=False, full_mask_prob=0.0, batch=8, base_lr=1e-2,
        steps=100,
    ),
    "quickstart": Size(
        pixels=32, joint_blocks=1, single_blocks=4, heads=6, head_width=32, text_width=192, text_depth=1,
        words=16, compress=True, positions=8, text_gain=True, full_mask_prob=0.5, batch=32, base_lr=1.2e-2,
        steps=1500,
    ),
    "emoji64": Size(
        pixels=64, joint_blocks=1, single_blocks=6, heads=6, head_width=32, text_width=192, text_depth=2,
        words=16, compress=True, positions=16, text_gain=True, full_mask_prob=0.5, batch=16, base_lr=1.6e-2,
        steps=20_000,
    ),
    "stage256": _STAGE,
    "stage512": replace(_STAGE, pixels=512, batch=512, base_lr=5e-5),
    "stage1024": _STAGE_1024,
    "preference": replace(_STAGE_1024, base_lr=1e-5, steps=10_000, needs_scores=True),
    "tiny256": _TINY,
    "tiny512": replace(_TINY, pixels=24),
    "tiny1024": _TINY_1024,
    "tiny-preference": replace(_TINY_1024, base_lr=1e-3, needs_scores=True),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    tokenizer: str | None = None,
    codes: str | None = None,
    flips: bool = False,
    balance: str | None = None,
    full_mask_prob: float | None = None,
    accumulation: int = 1,
    drop_condition: float = 0.1,
    clip: str | None = None,
    text_states: str | None = None,
    init: str | None = None,
    lora: int | None = None,
    lora_alpha: float | None = None,
    lora_layers: Layers = "blocks",
    buckets: bool = False,
    checkpointing: bool = False,
    official_timesteps: bool = False,
    sampling_steps: int | None = None,
    guidance: float | None = None,
    temperature: float | None = None,
    fid_every: int = 0,
    fid_images: int = 500,
    fid_weights: str | None = None,
    common: TrainFlags = DEFAULT_FLAGS,
) -> TrainGenerator:
    """Train a text-to-image generator: captions to code numbers, many at a time.

    Paper: Bai et al., "Meissonic: Revitalizing Masked Generative Transformers for Efficient High-Resolution
    Text-to-Image Synthesis", ICLR 2025 (arXiv 2410.08261).

    Command: mimgen train meissonic --size emoji64 --tokenizer runs/tokenizer --out runs/meissonic

    The paper's stages one after the other, each beginning with the pipeline of the one before:
        mimgen train meissonic --size stage256 --clip CLIP --data DATA --tokenizer VQ --out runs/256
        mimgen train meissonic --size stage512 --clip CLIP --data DATA --init runs/256 --out runs/512
        mimgen train meissonic --size stage1024 --clip CLIP --data DATA --init runs/512 --out runs/1024
        mimgen train meissonic --size preference --clip CLIP --data SCORED --init runs/1024 --out runs/final
    The bundled model on one's own captioned images, in minutes (with peft: pip install 'mimgen[lora]'):
        mimgen train meissonic --init bundled --lora 8 --data my_images --out runs/mine

    Expected: (measured 2026-11-21, 2 CPU cores, seed 0) --size quickstart, 1,070 steps in 7 minutes: composition
    R@5 32.3 %, median rank 11.5 of 3,655.
    --size emoji64, 33,257 steps in about 6 hours beside other work (the last quarter with --balance group,
    --full-mask-prob 0.7, then 0.9), one step without guidance at temperature 0: R@1 54.3 %, R@5 88.4 %, median 1.

    Args:
        size: tiny (seconds), quickstart (32 px, minutes), emoji64 (64 px, hours on a processor), the paper's stages
            stage256, stage512, stage1024 and preference, or the same in seconds: tiny256 ... tiny-preference.
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        tokenizer: folder of a trained tokenizer (its --out); without it that of --init, or one of the same size, which
            is trained first.
        codes: folder of `mimgen data cache-codes`; without it the code numbers are computed when the run starts.
        flips: mirror half of the images, generated anew each time (own data and photos).
        balance: name of the labels by whose classes rare images are shown more often, such as group of the emoji.
        full_mask_prob: share of images masked entirely in training; by default the size's own.
        accumulation: micro-batches per step, where memory is short.
        drop_condition: share of captions replaced by the empty one, so that guidance works.
        clip: folder of a text encoder on disk, CLIP's as a rule, which stays as it is. Without it the one of --init is
            taken, else a small one; CLIP's and those under --lora stay as they are, the small one is trained along.
        text_states: folder of `mimgen data cache-text`: a frozen text encoder is not loaded while training. A run goes
            on with or without, as it was started; the folder may be another one of the same encoder.
        init: the pipeline to begin with: bundled, a run's or a pipeline's folder. Its layers are taken as they are,
            with new ones for compression where the size has them and it has not; the size predicts the rest.
        lora: rank of adapters that are trained in the place of the weights of --init, at 4 times the rate of the size
            and for 1,000 steps at most, unless told otherwise.
        lora_alpha: factor on the adapters, over the rank; as large as the rank by default.
        lora_layers: which layers get one: attention, blocks (the feed-forward layers besides) or all.
        buckets: crop own images to shapes near their own, of as many tokens as the square; a batch has one shape.
        checkpointing: keep the inputs of blocks only, where memory is short; a step costs a forward pass more.
        official_timesteps: tell the progress as Meissonic's release was told it, 1,000 times the rate in
            training and the steps left in sampling, as for continuing with its weights. Its dropout of
            conditions, which was inverted and then without effect, is deliberately not offered.
        sampling_steps: steps in which an image is made; by default those of --init, else 16.
        guidance: how strongly an image follows its caption, 1 is off; by default that of --init, else 3.
        temperature: below 1 likelier tokens are preferred; by default that of --init, else 0.5, which lies between
            0.4 and 0.7, the better two of three tried on the toned emoji of `val` (1, 0.7, 0.4: R@5 5, 7, 13 %).
        fid_every: measure the FID to the training data every so many steps, into fid.jsonl; 0 for never.
        fid_images: how many images are made for that.
        fid_weights: file with Inception weights; without it the weight-free extractor lab-hog is taken.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    if full_mask_prob is not None:
        chosen = replace(chosen, full_mask_prob=full_mask_prob)
    if lora is not None:
        # adapters start at zero and bear a higher rate: of 40 images on a ground that the bundled model does not
        # know, 40 steps taught what 60 had not, after rate (now 4 times the size's), layers and warm-up were changed
        # together; how much of it each of them did was not measured
        chosen = replace(chosen, steps=min(chosen.steps, ADAPTER_STEPS), base_lr=4 * chosen.base_lr)
    init_from = None if init is None else InitFrom.at(init, compress=chosen.compress)
    added = adapters(init_from, lora, lora_alpha, lora_layers)
    encoder = Path(clip) if clip else init_from.text_folder if init_from and (added or init_from.text_frozen) else None
    if text_states and encoder is None:
        raise UserError("--text-states needs a text encoder that is frozen: pass --clip, or --init with --lora")

    def build(tokenizer: Tokenizer) -> MaskedTokens:
        text_encoder = _text_encoder(chosen, encoder, init_from, text_states)
        transformer = init_from.transformer() if init_from else _transformer(chosen, text_encoder, tokenizer)
        _check_fit(transformer, tokenizer, text_encoder)
        # logits of as many tokens at a time as fill a quarter of a gigabyte, however large the codebook
        chunk = max(64, min(8192, 2**26 // tokenizer.codebook_size))
        return MaskedTokens(
            transformer, text_encoder, cast(nn.Module, tokenizer), drop_condition=drop_condition, chunk=chunk,
            masking=CosineRate(full_mask_prob=chosen.full_mask_prob),
            timestep_scale=OFFICIAL_TIMESTEP_SCALE if official_timesteps else 1.0,
        )  # fmt: skip

    usual = init_from.preset if init_from else Preset(steps=16, guidance_scale=3.0, token_temperature=0.5)
    return TrainGenerator(
        name="meissonic",
        size=size,
        build=build,
        tokenizer=tokenizer or (init_from.tokenizer if init_from else None),
        data_config=common.data_config(data, chosen),
        settings=common.settings(
            chosen, accumulation=accumulation, clip=chosen.clip, min_lr_ratio=float(chosen.constant_lr),
            warmup=10 if added else 100,
        ),
        sampling=replace(
            usual, steps=value_or(sampling_steps, usual.steps),
            guidance_scale=value_or(guidance, usual.guidance_scale),
            token_temperature=value_or(temperature, usual.token_temperature),
            timestep_mode="steps" if official_timesteps else "rate",
        ),
        codes=codes, flips=flips, balance=balance,
        fid=FidWatch.of_flags(fid_every, fid_images, fid_weights),
        init_from=init_from, lora=added, text_encoder=encoder,
        recomputed=checkpointing,
        cell=(2 if chosen.compress or (init_from and init_from.compressed) else 1) if buckets else 0,
        needs_scores=chosen.needs_scores,
        tokenizer_size=chosen.tokenizer,
    )  # fmt: skip


def _check_fit(transformer: MeissonicTransformer, tokenizer: Tokenizer, text_encoder: TextEncoder) -> None:
    """Refuse a tokenizer or a text encoder that --init was not trained with; fresh weights fit."""
    if transformer.codebook_size != tokenizer.codebook_size:
        raise UserError(
            f"--init was trained on {transformer.codebook_size} codes, the tokenizer has {tokenizer.codebook_size}: "
            "leave out --tokenizer, or pass the one of --init"
        )
    if transformer.config["joint_attention_dim"] != text_encoder.width:
        raise UserError(
            f"--init reads text states of width {transformer.config['joint_attention_dim']}, the text encoder gives "
            f"{text_encoder.width}: pass the one that --init was trained with"
        )


def _text_encoder(size: Size, frozen: Path | None, init_from: InitFrom | None, text_states: str | None) -> TextEncoder:
    if frozen is not None:
        return open_frozen(frozen, text_states)
    if init_from is not None:
        return open_text_encoder(init_from.text_folder)
    return ByteTextEncoder(
        width=size.text_width,
        depth=size.text_depth,
        max_words=size.words,
        pooled_gain=6.0 if size.text_gain else 1.0,
    )


def _transformer(size: Size, text_encoder: TextEncoder, codes: Tokenizer) -> MeissonicTransformer:
    width = size.heads * size.head_width
    # a 1-D tokenizer has one row of ids: nothing to halve, and as many learned positions as ids
    row = getattr(codes, "grid", None)
    compress = size.compress and row is None
    table = row or ((size.positions, size.positions) if size.positions else None)
    return MeissonicTransformer(
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
        micro_scale=0.02 if size.text_gain else 1.0,
        code_levels=getattr(codes, "levels", None),
        places=table,
    )
