"""DMJD: two views with disjoint masks, and a branch for what is visible."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import VitEncoder, mae_vit
from mimgen.masking.disjoint import Disjoint
from mimgen.methods.dmjd.branch import VisibleBranch
from mimgen.methods.dmjd.encoder import ConvVitEncoder
from mimgen.methods.dmjd.objective import DMJD
from mimgen.methods.dmjd.target import WhitenedHog
from mimgen.recipes import DEFAULT_FLAGS, Pretrain, TrainFlags, choose_size


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of one size; of `stages`, `widths` and `depths` the plain encoder has the last, or the product."""

    pixels: int
    stages: tuple[int, int, int]
    widths: tuple[int, int, int]
    depths: tuple[int, int, int]
    heads: int
    unit: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    encoder: Literal["conv", "vit"]
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(
        pixels=16, stages=(1, 2, 2), widths=(8, 16, 32), depths=(1, 1, 2), heads=2, unit=2, decoder_width=24,
        decoder_depth=1, decoder_heads=2, encoder="conv", batch=8, base_lr=1e-2, warmup=10, steps=100,
    ),
    "emoji64": Size(
        pixels=64, stages=(2, 2, 2), widths=(48, 96, 192), depths=(1, 1, 6), heads=3, unit=2,
        decoder_width=128, decoder_depth=2, decoder_heads=4, encoder="vit", batch=64, base_lr=2e-3,
        warmup=200, steps=4000,
    ),
    "base": Size(
        pixels=224, stages=(4, 2, 2), widths=(256, 384, 768), depths=(2, 2, 11), heads=12, unit=2,
        decoder_width=512, decoder_depth=8, decoder_heads=16, encoder="conv", batch=512, base_lr=6e-4,
        warmup=50_000, steps=1_000_000,
    ),
}  # fmt: skip
USUAL_RATIO = 0.6


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    encoder: Literal["conv", "vit"] | None = None,
    mask_ratio: float = USUAL_RATIO,
    predicted: float = 1.0,
    views: Literal["disjoint", "independent"] = "disjoint",
    theta: float = 1.0,
    common: TrainFlags = DEFAULT_FLAGS,
) -> Pretrain:
    """Pretrain an encoder on two views that together mask all: predict gradients, seen or not.

    Paper: "Disjoint Masking with Joint Distillation for Efficient Masked Image Modeling" (arXiv 2301.00230).

    Command: mimgen train dmjd --size emoji64 --out runs/dmjd

    Expected: (measured 2026-11-21, 2 CPU cores, mean of 2 seeds, as many operations as MAE takes for 9,600
    images, `mimgen compare mim`) emoji subgroups, five folds: k-NN 40.4, linear 49.0 %; independent views, no
    visible branch: 39.3, 48.9 %.

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes), base (ConViT-B at 224 px, 400 epochs of ImageNet, the
            paper's).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        encoder: "conv" has two stages of convolutions before the transformer, "vit" is plain; by default the
            size's own: vit for emoji64, to compare at equal cost, conv otherwise.
        mask_ratio: share of masked patches of each view.
        predicted: share of patches masked in a view at least.
        views: "independent" samples both at random.
        theta: weight of the loss of visible patches; 0 leaves their branch out.
        common: of every training, see `TrainFlags`.
        batch_size: images per step, each of which is seen twice; by default the size's own.
        base_lr: learning rate for 256 images if each patch were predicted once per step; by default the size's
            own. It is raised by predicted / mask_ratio (DMJD, section 3.4), but not for the second view.
    """
    chosen = choose_size(SIZES, size)
    kind = encoder or chosen.encoder
    data_config = common.data_config(data, chosen)
    # before the rate, which the ratio divides, so that an impossible one is refused
    masking = Disjoint(mask_ratio, predicted, chosen.unit, independent=views == "independent")
    settings = common.settings(chosen, betas=(0.9, 0.95), clip=0.0, ema=0.0)
    settings = replace(settings, base_lr=settings.base_lr * predicted / mask_ratio)

    def build() -> DMJD:
        network = _encoder(kind, chosen, data_config.size)
        target = WhitenedHog(network.patch)
        decoder = MaeDecoder(
            data_config.size,
            network.patch,
            network.dim,
            width=chosen.decoder_width,
            depth=chosen.decoder_depth,
            heads=chosen.decoder_heads,
            output=target.dim,
            prefix=network.prefix,
        )
        visible = VisibleBranch(network.dim, chosen.decoder_width, target.dim) if theta else None
        return DMJD(network, decoder, visible, target, masking, theta=theta)

    return Pretrain("dmjd", size, build, data_config, settings)


def _encoder(kind: str, size: Size, pixels: int) -> ConvVitEncoder | VitEncoder:
    """The encoder of either kind, with the same patch, width and depth."""
    if kind == "conv":
        return ConvVitEncoder(pixels, size.stages, size.widths, size.depths, size.heads)
    patch = size.stages[0] * size.stages[1] * size.stages[2]
    return mae_vit(image_size=pixels, patch=patch, width=size.widths[2], depth=size.depths[2], heads=size.heads)
