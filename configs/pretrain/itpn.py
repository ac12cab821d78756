"""iTPN: pretrain a hierarchical encoder and its feature pyramid together."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mimgen.decoders.pyramid import FeatureHeads, PyramidDecoder
from mimgen.encoders.hivit import HiVitEncoder
from mimgen.encoders.patch_teachers import open_patch_teacher
from mimgen.encoders.plain import HogEncoder
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.masking.block import Block
from mimgen.masking.random import Random
from mimgen.methods.base import Objective
from mimgen.methods.itpn.objective import ITPN, ITPNDistillation
from mimgen.methods.itpn.target import StandardisedFeatures
from mimgen.recipes import DEFAULT_FLAGS, Pretrain, TrainFlags, choose_size
from mimgen.targets import PixelTarget

MASKED = 75 / 196  # share of patches masked in blocks for a teacher's features
PIXEL_BETAS, FEATURE_BETAS = (0.9, 0.95), (0.9, 0.98)


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of one size; `feature_lr` and `feature_steps` are those of training on features."""

    pixels: int
    patch: int
    width: int
    mlp_depths: tuple[int, int]
    depth: int
    heads: int
    neck: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    batch: int
    base_lr: float
    warmup: int
    steps: int
    feature_lr: float
    feature_steps: int


SIZES = {
    "tiny": Size(
        pixels=16, patch=4, width=32, mlp_depths=(1, 1), depth=2, heads=2, neck=16, decoder_width=32,
        decoder_depth=1, decoder_heads=2, batch=8, base_lr=1e-2, warmup=10, steps=100, feature_lr=1e-2,
        feature_steps=100,
    ),
    "emoji64": Size(
        pixels=64, patch=8, width=192, mlp_depths=(1, 1), depth=6, heads=3, neck=64, decoder_width=128,
        decoder_depth=2, decoder_heads=4, batch=64, base_lr=4e-3, warmup=200, steps=4000, feature_lr=4e-3,
        feature_steps=4000,
    ),
    "base": Size(
        pixels=224, patch=16, width=512, mlp_depths=(3, 3), depth=24, heads=8, neck=256, decoder_width=512,
        decoder_depth=8, decoder_heads=16, batch=4096, base_lr=1.5e-4, warmup=12_500, steps=500_000,
        feature_lr=9.375e-5, feature_steps=93_750,
    ),
    "large": Size(
        pixels=224, patch=16, width=768, mlp_depths=(2, 2), depth=40, heads=12, neck=256, decoder_width=512,
        decoder_depth=8, decoder_heads=16, batch=4096, base_lr=1.5e-4, warmup=12_500, steps=500_000,
        feature_lr=9.375e-5, feature_steps=93_750,
    ),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    target: str = "pixels",
    mask_ratio: float = 0.75,
    masked_only: bool = False,
    common: TrainFlags = DEFAULT_FLAGS,
) -> Pretrain:
    """Pretrain an encoder and its feature pyramid: predict pixels or features of masked patches.

    Paper: "Integrally Pre-Trained Transformer Pyramid Networks" (arXiv 2211.12735).

    Command: mimgen train itpn --size emoji64 --out runs/itpn

    Expected: (measured 2026-11-21, 2 CPU cores, mean of 2 seeds, as many operations as MAE takes for 9,600
    images, `mimgen compare mim`) emoji subgroups, five folds: k-NN 34.8, linear 45.0 %; MAE: 34.4, 49.3 %.

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes), base and large (224 px, 1600 epochs of ImageNet on pixels or
            300 on features, the paper's).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        target: "pixels"; or features: "hog", which needs no weights, or the folder of an encoder (the paper's is
            CLIP). With features, 38 % of the patches are masked in blocks, shown as a token.
        mask_ratio: share of masked patches, with pixels.
        masked_only: score features of masked patches alone, instead of all.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    data_config, featured = common.data_config(data, chosen), target != "pixels"
    if featured:
        chosen = replace(
            chosen, base_lr=chosen.feature_lr, steps=chosen.feature_steps, warmup=chosen.warmup // 8
        )
    settings = common.settings(chosen, betas=FEATURE_BETAS if featured else PIXEL_BETAS, clip=0.0, ema=0.0)

    def build() -> Objective:
        if featured:
            return _on_features(chosen, data_config.size, target, masked_only)
        return _on_pixels(chosen, data_config.size, mask_ratio)

    return Pretrain("itpn", size, build, data_config, settings)


def _on_pixels(chosen: Size, side: int, ratio: float) -> ITPN:
    """The pixel variant: masked patches are left out."""
    encoder = HiVitEncoder(
        side, chosen.patch, chosen.width, chosen.mlp_depths, chosen.depth, chosen.heads, neck_width=chosen.neck
    )
    decoder = PyramidDecoder(
        side, chosen.patch, chosen.neck, chosen.decoder_width, chosen.decoder_depth, chosen.decoder_heads
    )
    target = PixelTarget(chosen.patch, mean=IMAGENET_MEAN, std=IMAGENET_STD, last=True)
    return ITPN(encoder, decoder, target, Random(ratio))


def _on_features(chosen: Size, side: int, teacher: str, masked_only: bool) -> ITPNDistillation:
    """The CLIP variant: masked patches are shown as a token, and a teacher's features are predicted."""
    network = HogEncoder(side, chosen.patch) if teacher == "hog" else open_patch_teacher(teacher)
    target = StandardisedFeatures(network, patch=chosen.patch)
    encoder = HiVitEncoder(
        side, chosen.patch, chosen.width, chosen.mlp_depths, chosen.depth, chosen.heads, relative=True,
        layer_scale=0.1, drop_path=0.1, neck_width=chosen.neck, neck_depth=1, mask_token=True,
    )  # fmt: skip
    heads = FeatureHeads(side, chosen.patch, chosen.neck, chosen.width, chosen.heads, target.dim)
    patches = (side // chosen.patch) ** 2
    masking = Block(round(MASKED * patches), minimum=max(1, 16 * patches // 196))
    return ITPNDistillation(encoder, heads, target, masking, masked_only=masked_only)
