"""ROPIM: mix patches by a random projection, predict what it removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mimgen.decoders.mae import LinearDecoder
from mimgen.encoders.beit import BeitEncoder
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.methods.ropim import ROPIM, CountSketch
from mimgen.recipes import DEFAULT_FLAGS, Pretrain, TrainFlags, choose_size, value_or
from mimgen.targets import PixelTarget


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of one size; `ratio` is the share of dimensions that the projection keeps."""

    pixels: int
    patch: int
    width: int
    depth: int
    heads: int
    ratio: float
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(
        pixels=16, patch=4, width=32, depth=2, heads=2, ratio=1 / 4, batch=8, base_lr=3e-2, warmup=10, steps=100
    ),
    "emoji64": Size(
        pixels=64, patch=8, width=192, depth=6, heads=3, ratio=1 / 8, batch=64, base_lr=4e-3, warmup=200, steps=4000
    ),
    "base": Size(
        pixels=224, patch=16, width=768, depth=12, heads=12, ratio=1 / 7, batch=2048, base_lr=1.5e-4, warmup=6250,
        steps=187_500,
    ),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    ratio: float | None = None,
    space: Literal["complement", "all", "retained"] = "complement",
    mixed: bool = True,
    common: TrainFlags = DEFAULT_FLAGS,
) -> Pretrain:
    """Pretrain an encoder: predict what a random orthogonal projection of the patches removed.

    Paper: "Pre-training with Random Orthogonal Projection Image Modeling" (arXiv 2310.18737).

    Command: mimgen train ropim --size emoji64 --out runs/ropim

    Expected: not measured yet.

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes), base (ViT-B/16 at 224 px, 300 epochs of ImageNet at batch 2048;
            the paper's, without its drop path of 0.1).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        ratio: share of dimensions that the projection keeps; its buckets must divide the patches. By default the
            size's, 1/7 for base.
        space: where the error is scored: what the projection removed, everything, or (a control) what it kept.
        mixed: show the projected patches; without, the intact ones.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)
    settings = common.settings(chosen, betas=(0.9, 0.95), clip=5.0, ema=0.0)
    sketch = CountSketch(value_or(ratio, chosen.ratio))
    sketch.buckets((data_config.size // chosen.patch) ** 2)  # refused before anything is built

    def build() -> ROPIM:
        encoder = BeitEncoder(
            data_config.size, chosen.patch, chosen.width, chosen.depth, chosen.heads, layer_scale=0.1,
            absolute=False, relative="shared",
        )  # fmt: skip
        target = PixelTarget(
            chosen.patch, normalise=False, mean=IMAGENET_MEAN, std=IMAGENET_STD, distance="absolute"
        )
        return ROPIM(
            encoder, LinearDecoder(chosen.width, chosen.patch, chosen.patch), target, sketch, mixed=mixed, space=space
        )

    return Pretrain("ropim", size, build, data_config, settings)
