"""CAE: predict what masked patches are from their regressed representations alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.errors import UserError
from mimgen.masking import Block
from mimgen.methods.cae.networks import CaeDecoder, CaeEncoder
from mimgen.methods.cae.objective import CAE
from mimgen.recipes import DEFAULT_FLAGS, DataConfig, Pretrain, TrainFlags, choose_size
from mimgen.recipes.patch_codes import fit_patch_centroids, load_patch_codes
from mimgen.targets import CodeTarget, PixelTarget, Target


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of one size; `minimum` patches has the smallest block, `regressor` and `decoder` count blocks."""

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
    minimum: int
    codes: int
    per_code: int
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(
        pixels=16, patch=4, width=32, depth=2, heads=2, decoder_width=24, decoder_heads=2, regressor=1,
        decoder=1, drop_path=0.0, minimum=2, codes=32, per_code=64, batch=8, base_lr=3e-2, warmup=10,
        steps=100,
    ),
    "emoji64": Size(
        pixels=64, patch=8, width=192, depth=6, heads=3, decoder_width=128, decoder_heads=4, regressor=2,
        decoder=2, drop_path=0.0, minimum=4, codes=512, per_code=128, batch=64, base_lr=4e-3, warmup=200,
        steps=4000,
    ),
    "small": Size(
        pixels=224, patch=16, width=384, depth=12, heads=6, decoder_width=384, decoder_heads=6, regressor=4,
        decoder=4, drop_path=0.1, minimum=16, codes=8192, per_code=256, batch=2048, base_lr=1.875e-4,
        warmup=12_500, steps=500_000,
    ),
    "base": Size(
        pixels=224, patch=16, width=768, depth=12, heads=12, decoder_width=768, decoder_heads=12, regressor=4,
        decoder=4, drop_path=0.1, minimum=16, codes=8192, per_code=256, batch=2048, base_lr=1.875e-4,
        warmup=12_500, steps=500_000,
    ),
    "large": Size(
        pixels=224, patch=16, width=1024, depth=24, heads=16, decoder_width=1024, decoder_heads=16,
        regressor=4, decoder=4, drop_path=0.1, minimum=16, codes=8192, per_code=256, batch=2048,
        base_lr=1.875e-4, warmup=12_500, steps=500_000,
    ),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    target: Literal["codes", "pixels"] = "codes",
    tokenizer: str | None = None,
    align_weight: float = 2.0,
    mask_ratio: float = 0.5,
    common: TrainFlags = DEFAULT_FLAGS,
) -> Pretrain:
    """Pretrain an encoder: predict representations and codes of masked blocks in two steps.

    Paper: "Context Autoencoder for Self-Supervised Representation Learning" (arXiv 2202.03026).

    Command: mimgen train cae --size emoji64 --out runs/cae

    Expected: (measured 2026-11-21, 2 CPU cores, mean of 2 seeds, as many operations as MAE takes for 9,600
    images, `mimgen compare mim`) emoji subgroups, five folds: k-NN 33.1, linear 46.6 %; MAE: 34.4, 49.3 %.

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes), small, base and large (ViT-S/16, ViT-B/16 and ViT-L/16 at
            224 px, 800 epochs of ImageNet, the paper's but for its tokenizer).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        target: codes of a tokenizer, or pixels normalised by patch.
        tokenizer: folder of a tokenizer with the size's patch; without it, centroids are built first.
        align_weight: of the representations of masked patches; 0 leaves the codes or pixels alone.
        mask_ratio: share of masked patches, in blocks.
        common: of every training, see `TrainFlags`.
    """
    if tokenizer and target != "codes":
        raise UserError(f"--target {target} needs no tokenizer: leave --tokenizer out")
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)
    settings = common.settings(chosen, min_lr_ratio=1 / 150, betas=(0.9, 0.999), clip=3.0, ema=0.0)

    def build() -> CAE:
        goal = _target(target, tokenizer, data_config, chosen)
        encoder = CaeEncoder(
            data_config.size,
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
        masked = round(mask_ratio * (data_config.size // chosen.patch) ** 2)
        return CAE(
            encoder, decoder, goal, Block(masked, min(chosen.minimum, masked)), align_weight=align_weight
        )

    return Pretrain("cae", size, build, data_config, settings)


def _target(name: str, tokenizer: str | None, data_config: DataConfig, size: Size) -> Target:
    """What is predicted for a masked patch."""
    if name == "pixels":
        return PixelTarget(size.patch, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    if tokenizer:
        return CodeTarget(load_patch_codes(tokenizer, data_config, size.patch))
    return CodeTarget(fit_patch_centroids(data_config, size.patch, size.codes, size.per_code))
