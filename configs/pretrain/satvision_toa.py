"""SatVision-TOA: SimMIM with Swin v2 on the many bands of a satellite."""

from __future__ import annotations

from dataclasses import dataclass

from mimgen.data import Dataset
from mimgen.decoders.mae import LinearDecoder
from mimgen.encoders.swin_v2 import SwinV2Encoder, every
from mimgen.masking.random import Random
from mimgen.methods.mim import MIM
from mimgen.recipes import DEFAULT_FLAGS, DataConfig, Pretrain, TrainFlags, choose_size
from mimgen.targets import PixelTarget


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of one size; `unit` patches per side are masked together, every `extra`-th block has one more norm."""

    pixels: int
    patch: int
    unit: int
    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    extra: int
    drop_path: float
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(
        pixels=16, patch=2, unit=2, width=16, depths=(2, 1), heads=(1, 2), window=4, extra=0, drop_path=0.0,
        batch=8, base_lr=3e-2, warmup=10, steps=100,
    ),
    "emoji64": Size(
        pixels=64, patch=4, unit=4, width=48, depths=(2, 2, 4), heads=(2, 4, 8), window=4, extra=0,
        drop_path=0.0, batch=64, base_lr=2e-3, warmup=200, steps=4000,
    ),
    "giant": Size(
        pixels=128, patch=4, unit=2, width=512, depths=(2, 2, 42, 2), heads=(16, 32, 64, 128), window=8,
        extra=6, drop_path=0.1, batch=256, base_lr=3e-4, warmup=7500, steps=375_000,
    ),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "bands",
    mask_ratio: float = 0.6,
    common: TrainFlags = DEFAULT_FLAGS,
) -> Pretrain:
    """Pretrain a Swin v2 encoder: predict masked squares of rasters with any number of bands.

    Paper: "SatVision-TOA: A Geospatial Foundation Model for Coarse-Resolution All-Sky Remote Sensing Imagery"
    (arXiv 2411.17000).

    Command: mimgen train satvision_toa --size emoji64 --out runs/satvision_toa

    Expected: (measured 2026-11-21, 2 CPU cores, mean of 2 seeds, as many operations as MAE takes for 9,600
    images, `mimgen compare mim`) bands: cloud profile R^2 65.2, cloud cover 66.6 %; untrained: 65.8, 67.0 %.

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes), giant (3 billion parameters at 128 px, 50 epochs of 1.92M
            chips; the paper's, with AdamW and a cosine).
        data: "bands" (synthetic scenes in 14 bands), a folder of rasters, or images such as "emoji".
        mask_ratio: share of masked squares.
        common: of every training, see `TrainFlags`.
        pixels: side of the rasters; by default the size's own.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)
    settings = common.settings(
        chosen, min_lr_ratio=0.67 if size == "giant" else 0.05, betas=(0.9, 0.999), clip=5.0, ema=0.0
    )

    def build() -> MIM:
        bands = _bands(data_config)
        # bands are scaled to [0, 1] when they are read
        mean, std = (0.0,) * bands, (1.0,) * bands
        encoder = SwinV2Encoder(
            data_config.size,
            chosen.patch,
            chosen.width,
            chosen.depths,
            chosen.heads,
            chosen.window,
            drop_path=chosen.drop_path,
            extra_norms=every(chosen.extra, chosen.depths),
            channels=bands,
            mean=mean,
            std=std,
        )
        target = PixelTarget(chosen.patch, normalise=False, mean=mean, std=std, distance="absolute")
        decoder = LinearDecoder(encoder.dim, encoder.patch, chosen.patch, bands)
        return MIM(encoder, decoder, target, Random(mask_ratio, chosen.unit))

    return Pretrain("satvision_toa", size, build, data_config, settings)


def _bands(data_config: DataConfig) -> int:
    """How many bands the run's rasters have."""
    dataset = data_config.open()
    sample = dataset[0] if isinstance(dataset, Dataset) else next(iter(dataset.samples(0, 0)))
    return len(sample.image)
