"""TiTok: an image as a short row of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from torch import nn

from mimgen.errors import UserError
from mimgen.methods import ProxyCodes, Reconstruction
from mimgen.recipes import (
    DEFAULT_FLAGS,
    TrainFlags,
    TrainTokenizer,
    choose_size,
    load_image_quantizer,
    value_or,
)
from mimgen.tokenizers import TiTok, TiTokLegacy, TiTokProxy, open_discriminator, open_perceptual


@dataclass(frozen=True)
class Size:
    """Numbers of one size; `encoder` and `decoder` are width, depth and heads."""

    pixels: int
    tokens: int
    patch: int
    encoder: tuple[int, int, int]
    decoder: tuple[int, int, int]
    codes: int
    token_size: int
    levels: tuple[int, ...]
    batch: int
    base_lr: float
    steps: int


SMALL, BASE, LARGE = (512, 8, 8), (768, 12, 12), (1024, 24, 16)
SIZES = {
    "tiny": Size(
        pixels=16, tokens=8, patch=4, encoder=(32, 1, 2), decoder=(32, 1, 2), codes=64, token_size=8,
        levels=(4, 4, 4), batch=8, base_lr=3.2e-2, steps=100,
    ),
    "emoji64": Size(
        pixels=64, tokens=32, patch=8, encoder=(128, 4, 4), decoder=(128, 4, 4), codes=1024, token_size=8,
        levels=(8, 8, 6, 5), batch=16, base_lr=1.6e-2, steps=2000,
    ),
    "base": Size(
        pixels=256, tokens=64, patch=16, encoder=BASE, decoder=BASE, codes=4096, token_size=12,
        levels=(8, 8, 8, 8), batch=256, base_lr=1e-4, steps=1_000_000,
    ),
    "large": Size(
        pixels=256, tokens=32, patch=16, encoder=LARGE, decoder=LARGE, codes=4096, token_size=12,
        levels=(8, 8, 8, 8), batch=256, base_lr=1e-4, steps=1_000_000,
    ),
    "small": Size(
        pixels=256, tokens=128, patch=16, encoder=SMALL, decoder=SMALL, codes=4096, token_size=12,
        levels=(8, 8, 8, 8), batch=256, base_lr=1e-4, steps=1_000_000,
    ),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    quantizer: Literal["vq", "ema", "lfq", "fsq", "kl"] = "ema",
    tokens: int | None = None,
    teacher: str | None = None,
    stage1: str | None = None,
    adversarial: float = 0.0,
    adversarial_start: int = 20_000,
    perceptual: str | None = None,
    common: TrainFlags = DEFAULT_FLAGS,
) -> TrainTokenizer:
    """Train TiTok: an image becomes 32 to 128 tokens in a row, not a grid.

    By default it learns from pixels, as the newer releases do. With `teacher` it learns that tokenizer's codes
    (stage 1 of the paper), and with `stage1` to paint from them (stage 2). Sizes base, large and small are
    B-64, L-32 and S-128.

    Paper: Yu et al., "An Image is Worth 32 Tokens for Reconstruction and Generation", 2024 (arXiv 2406.07550).

    Command: mimgen train titok --size emoji64 --out runs/titok

    Expected: (measured 2026-11-21, 2 CPU cores, seed 0) --size emoji64, 3,200 images seen, untuned learning rate:
    PSNR 12.2 dB on the 176 of `val` of emoji (`mimgen compare tokenizers`).

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes on a processor), base, large, small (256 px).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        quantizer: ema (learned codes, moved by averages), vq (moved by gradients, as released: in short runs
            most of them are never used), lfq (binary codes), fsq (rounded values), kl (continuous).
        tokens: tokens per image; by default the size's own.
        teacher: folder of a trained tokenizer whose codes to predict: stage 1.
        stage1: folder of a tokenizer of stage 1 that is to learn painting: stage 2.
        adversarial: weight of a PatchGAN that scores the images, scaled adaptively; 0 for none.
        adversarial_start: steps that the discriminator trains before the tokenizer's loss includes it.
        perceptual: folder with the weights of LPIPS (VGG-16 and linear heads); nothing is downloaded.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)
    if teacher is not None and stage1 is not None:
        raise UserError("pass teacher (stage 1) or stage1 (stage 2), not both: they are two runs")
    settings = common.settings(chosen, betas=(0.9, 0.99), weight_decay=1e-4)
    options: dict[str, Any] = {
        "image_size": data_config.size,
        "tokens": value_or(tokens, chosen.tokens),
        "patch": chosen.patch,
        "encoder": chosen.encoder,
        "decoder": chosen.decoder,
        "quantizer": quantizer,
        "codebook_size": chosen.codes,
        "token_size": chosen.token_size,
        "levels": chosen.levels,
    }

    def paint(tokenizer: nn.Module) -> Reconstruction:
        discriminator = open_discriminator("patch", data_config.size) if adversarial else None
        return Reconstruction(
            tokenizer,
            discriminator,
            l1=0.0,
            l2=1.0,
            perceptual=open_perceptual(Path(perceptual) if perceptual else None),
            perceptual_weight=0.1,
            adversarial_weight=adversarial,
            adversarial_start=adversarial_start,
            lecam=0.001,
        )

    def build() -> Reconstruction | ProxyCodes:
        if stage1 is not None:
            return paint(_painter(stage1, 32 if data_config.size < 128 else 128))
        if teacher is None:
            return paint(TiTok(**options))
        coder = load_image_quantizer(teacher)
        proxy = TiTokProxy(**options, classes=coder.codebook_size, decoder_patch=coder.downsample)
        return ProxyCodes(proxy, cast(nn.Module, coder))

    return TrainTokenizer("titok", size, build, data_config, settings)


def _painter(folder: str, channels: int) -> TiTokLegacy:
    """The tokenizer of stage 2 on top of that of stage 1."""
    proxy = load_image_quantizer(folder)
    if not isinstance(proxy, TiTokProxy):
        raise UserError(f"stage1 {folder} holds a {type(proxy).__name__}: pass the --out folder of stage 1")
    # one level for each halving of a patch, and one more
    levels = (1, 1, 2, 2, 4)[-int(proxy.config["patch"]).bit_length() :]
    return TiTokLegacy.from_proxy(proxy, pixel_channels=channels, pixel_multipliers=levels)
