"""iTPN: pretrain a hierarchical encoder and its feature pyramid together."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from mimgen.decoders.pyramid import FeatureHeads, PyramidDecoder
from mimgen.encoders.hivit import HiVitEncoder
from mimgen.encoders.patch_teachers import open_patch_teacher
from mimgen.encoders.plain import HogEncoder
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.masking.block import Block
from mimgen.masking.random import Random
from mimgen.methods.itpn.objective import PyramidDistillation, PyramidModelling
from mimgen.methods.itpn.target import StandardisedFeatures
from mimgen.recipes import USUAL, Common, Pretrain, changed, choose_size
from mimgen.targets import PixelTarget

HIDDEN = 75 / 196  # share of patches hidden in blocks for a teacher's features
PIXEL_BETAS, FEATURE_BETAS = (0.9, 0.95), (0.9, 0.98)


@dataclass(frozen=True)
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
    "tiny": Size(16, 4, 32, (1, 1), 2, 2, 16, 32, 1, 2, 8, 1e-2, 10, 100, 1e-2, 100),
    "emoji64": Size(64, 8, 192, (1, 1), 6, 3, 64, 128, 2, 4, 64, 4e-3, 200, 4000, 4e-3, 4000),
    "base": Size(
        224, 16, 512, (3, 3), 24, 8, 256, 512, 8, 16, 4096, 1.5e-4, 12_500, 500_000, 9.375e-5, 93_750
    ),
    "large": Size(
        224, 16, 768, (2, 2), 40, 12, 256, 512, 8, 16, 4096, 1.5e-4, 12_500, 500_000, 9.375e-5, 93_750
    ),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    target: str = "pixels",
    mask_ratio: float = 0.75,
    hidden_only: bool = False,
    common: Common = USUAL,
) -> Pretrain:
    """Pretrain an encoder and its feature pyramid: tell pixels or features of hidden patches.

    Paper: "Integrally Pre-Trained Transformer Pyramid Networks" (arXiv 2211.12735).

    Command: mimgen train itpn --size emoji64 --out runs/itpn

    Expected: (measured 2026-11-21, 2 CPU cores, mean of 2 seeds, as many operations as MAE takes for 9,600
    pictures, `mimgen compare mim`) emoji subgroups, five folds: k-NN 34.8, linear 45.0 %; MAE: 34.4, 49.3 %.

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes), base and large (224 px, 1600 epochs of ImageNet on pixels or
            300 on features, the paper's).
        data: "emoji", or your pictures: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        target: "pixels"; or features: "hog", which needs no weights, or the folder of an encoder (the paper's is
            CLIP). With features, 38 % of the patches are hidden in blocks, shown as a token.
        mask_ratio: share of hidden patches, with pixels.
        hidden_only: score features of hidden patches alone, instead of all.
        common: of every training, see `Common`.
    """
    chosen = choose_size(SIZES, size)
    pictures, featured = common.pictures(data, chosen), target != "pixels"
    if featured:
        chosen = replace(
            chosen, base_lr=chosen.feature_lr, steps=chosen.feature_steps, warmup=chosen.warmup // 8
        )
    settings = common.settings(chosen, betas=FEATURE_BETAS if featured else PIXEL_BETAS, clip=0.0, ema=0.0)

    def build() -> nn.Module:
        if featured:
            return _on_features(chosen, pictures.size, target, hidden_only)
        return _on_pixels(chosen, pictures.size, mask_ratio)

    options = changed(
        target=(target, "pixels"), mask_ratio=(mask_ratio, 0.75), hidden_only=(hidden_only, False)
    )
    return Pretrain("itpn", size, build, pictures, settings, options)


def _on_pixels(chosen: Size, side: int, ratio: float) -> PyramidModelling:
    """The pixel variant: hidden patches are left out."""
    encoder = HiVitEncoder(
        side, chosen.patch, chosen.width, chosen.mlp_depths, chosen.depth, chosen.heads, neck_width=chosen.neck
    )
    decoder = PyramidDecoder(
        side, chosen.patch, chosen.neck, chosen.decoder_width, chosen.decoder_depth, chosen.decoder_heads
    )
    target = PixelTarget(chosen.patch, mean=IMAGENET_MEAN, std=IMAGENET_STD, last=True)
    return PyramidModelling(encoder, decoder, target, Random(ratio))


def _on_features(chosen: Size, side: int, teacher: str, hidden_only: bool) -> PyramidDistillation:
    """The CLIP variant: hidden patches are shown as a token, and a teacher's features are told."""
    said = HogEncoder(side, chosen.patch) if teacher == "hog" else open_patch_teacher(teacher)
    target = StandardisedFeatures(said, patch=chosen.patch)
    encoder = HiVitEncoder(
        side, chosen.patch, chosen.width, chosen.mlp_depths, chosen.depth, chosen.heads, relative=True,
        layer_scale=0.1, drop_path=0.1, neck_width=chosen.neck, neck_depth=1, mask_token=True,
    )  # fmt: skip
    heads = FeatureHeads(side, chosen.patch, chosen.neck, chosen.width, chosen.heads, target.dim)
    patches = (side // chosen.patch) ** 2
    masking = Block(round(HIDDEN * patches), least=max(1, 16 * patches // 196))
    return PyramidDistillation(encoder, heads, target, masking, hidden_only=hidden_only)
