"""CAE: predict what masked patches are from their regressed representations alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.errors import UserError
from mimgen.masking import Block
from mimgen.methods.cae.networks import CaeDecoder, CaeEncoder
from mimgen.methods.cae.objective import CAE
from mimgen.recipes import DEFAULT_FLAGS, DataConfig, Pretrain, TrainFlags, choose_size, overrides
from mimgen.recipes.patch_codes import fit_patch_centroids, load_patch_codes
from mimgen.targets import CodeTarget, PixelTarget, Target


@dataclass(frozen=True)
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

    options = overrides(
        target=(target, "codes"),
        tokenizer=(tokenizer, None),
        align_weight=(align_weight, 2.0),
        mask_ratio=(mask_ratio, 0.5),
    )
    return Pretrain("cae", size, build, data_config, settings, options)


def _target(name: str, tokenizer: str | None, data_config: DataConfig, size: Size) -> Target:
    """What is predicted for a masked patch."""
    if name == "pixels":
        return PixelTarget(size.patch, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    if tokenizer:
        return CodeTarget(load_patch_codes(tokenizer, data_config, size.patch))
    return CodeTarget(fit_patch_centroids(data_config, size.patch, size.codes, size.per_code))
