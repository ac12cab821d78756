"""Hi-End-MAE: mask tokens query the layers of an encoder, from deep to shallow."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.masking.random import Random
from mimgen.methods.hiendmae.decoder import HierarchicalDecoder
from mimgen.methods.hiendmae.encoder import VolumeVit
from mimgen.methods.hiendmae.objective import HiEndMAE
from mimgen.methods.hiendmae.target import VolumeTarget
from mimgen.recipes import DEFAULT_FLAGS, DataConfig, Pretrain, TrainFlags, choose_size, value_or
from mimgen.recipes.volumes import Volumes

HOUNSFIELD = (-175.0, 250.0)  # soft tissue in CT


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of one size; `axes` is 3 for volumes and 2 for images."""

    axes: int
    pixels: int
    patch: int
    width: int
    depth: int
    heads: int
    taps: tuple[int, ...]
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(
        axes=3, pixels=16, patch=4, width=24, depth=3, heads=2, taps=(2, 1, 0), decoder_width=24,
        decoder_depth=1, decoder_heads=2, batch=8, base_lr=3e-2, warmup=10, steps=100,
    ),
    "emoji64": Size(
        axes=2, pixels=64, patch=8, width=192, depth=6, heads=3, taps=(4, 2, 1), decoder_width=128,
        decoder_depth=2, decoder_heads=4, batch=64, base_lr=4e-3, warmup=200, steps=4000,
    ),
    "volumes32": Size(
        axes=3, pixels=32, patch=8, width=96, depth=6, heads=3, taps=(4, 2, 1), decoder_width=96,
        decoder_depth=2, decoder_heads=3, batch=64, base_lr=4e-3, warmup=200, steps=4000,
    ),
    "base": Size(
        axes=3, pixels=96, patch=12, width=768, depth=12, heads=12, taps=(9, 6, 3), decoder_width=384,
        decoder_depth=2, decoder_heads=12, batch=96, base_lr=2.667e-4, warmup=1040, steps=104_000,
    ),
    "large": Size(
        axes=3, pixels=96, patch=12, width=1536, depth=12, heads=16, taps=(9, 6, 3), decoder_width=528,
        decoder_depth=2, decoder_heads=16, batch=96, base_lr=2.667e-4, warmup=1040, steps=104_000,
    ),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str | None = None,
    mask_ratio: float = 0.75,
    hierarchical: bool = True,
    window: tuple[float, float] = HOUNSFIELD,
    spacing: float = 1.5,
    common: TrainFlags = DEFAULT_FLAGS,
) -> Pretrain:
    """Pretrain an encoder of volumes or images: all its layers help to predict masked cells.

    Paper: "Hi-End-MAE: Hierarchical encoder-driven masked autoencoders are stronger vision learners for medical image
    segmentation" (arXiv 2502.08347).

    Command: mimgen train hiendmae --size volumes32 --out runs/hiendmae

    Expected: (measured 2026-11-21, 2 CPU cores, mean of 2 seeds, as many operations as MAE takes for 9,600
    images, `mimgen compare mim`) volumes: Dice of middle layers 19.9, best layer 20.1 %; from the last layer
    alone: 18.5, 18.7 %.

    Args:
        size: tiny (volumes of 16 voxels per side, seconds), emoji64 (images of 64 px, minutes), volumes32 (32
            voxels, minutes), base and large (96 voxels, 1000 epochs of 10,000 scans, the paper's).
        data: a folder of volumes (.npy, .nii.gz), or of images with emoji64; by default "volumes", the built-in
            phantoms, and "emoji" with emoji64.
        mask_ratio: share of masked cells.
        hierarchical: each block of the decoder reads another layer; without, all of them read the last one.
        window: values of your volumes that become 0 and 1, in Hounsfield units for CT.
        spacing: side of a voxel in millimetres that NIfTI volumes are resampled to.
        common: of every training, see `TrainFlags`.
        pixels: side of the volumes or images; by default the size's own.
    """
    chosen = choose_size(SIZES, size)
    side = value_or(common.pixels, chosen.pixels)
    data_config: DataConfig = DataConfig(value_or(data, "emoji"), side)
    if chosen.axes == 3:
        data_config = Volumes(value_or(data, "volumes"), side, window=tuple(window), spacing=spacing)  # type: ignore[arg-type]
    settings = common.settings(chosen, betas=(0.9, 0.95), clip=0.0, ema=0.0)

    def build() -> HiEndMAE:
        flat, sides = chosen.axes == 2, (side,) * chosen.axes
        channels = 3 if flat else 1
        encoder = VolumeVit(
            sides, chosen.patch, chosen.width, chosen.depth, chosen.heads, channels=channels,
            mean=IMAGENET_MEAN if flat else None, std=IMAGENET_STD if flat else None,
        )  # fmt: skip
        decoder = HierarchicalDecoder(
            encoder.cells,
            chosen.width,
            channels * prod(encoder.cell),
            chosen.taps if hierarchical else (chosen.depth - 1,) * len(chosen.taps),
            chosen.decoder_width,
            chosen.decoder_depth,
            chosen.decoder_heads,
        )
        return HiEndMAE(encoder, decoder, VolumeTarget(encoder.cell, channels), Random(mask_ratio))

    return Pretrain("hiendmae", size, build, data_config, settings)
