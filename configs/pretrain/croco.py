"""CroCo: complete a mostly masked image with the help of a second view."""

from __future__ import annotations

from typing import Literal

from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.masking.random import Random
from mimgen.methods.croco.decoder import CrossViewDecoder
from mimgen.methods.croco.encoder import CrossViewVit
from mimgen.methods.croco.objective import CroCo
from mimgen.recipes import DEFAULT_FLAGS, Pretrain, TrainFlags, choose_size
from mimgen.recipes.vit_sizes import MaeSize
from mimgen.targets import PixelTarget

SIZES = {
    "tiny": MaeSize(
        pixels=16, patch=4, width=32, depth=2, heads=2, decoder_width=24, decoder_depth=1, decoder_heads=2,
        batch=8, base_lr=3e-2, warmup=10, steps=100,
    ),
    "emoji64": MaeSize(
        pixels=64, patch=8, width=192, depth=6, heads=3, decoder_width=128, decoder_depth=2, decoder_heads=4,
        batch=64, base_lr=4e-3, warmup=200, steps=4000,
    ),
    "base": MaeSize(
        pixels=224, patch=16, width=768, depth=12, heads=12, decoder_width=512, decoder_depth=8,
        decoder_heads=16, batch=256, base_lr=1.5e-4, warmup=284_000, steps=2_840_000,
    ),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "parallax",
    mask_ratio: float = 0.9,
    positions: Literal["fixed", "rotary"] = "fixed",
    normalise: bool = True,
    jitter: float = 0.4,
    common: TrainFlags = DEFAULT_FLAGS,
) -> Pretrain:
    """Pretrain an encoder on pairs of views: predict masked pixels of one with the help of the other.

    Paper: "CroCo: Self-Supervised Pre-training for 3D Vision Tasks by Cross-View Completion" (arXiv 2210.10716).

    Command: mimgen train croco --size emoji64 --out runs/croco

    Expected: (measured 2026-11-21, 2 CPU cores, mean of 2 seeds, as many operations as MAE takes for 9,600
    images, `mimgen compare mim`) parallax: gain of the true second view 15.6, disparity R^2, both views 9.9,
    one view 11.3 %; second views of other scenes: -0.0, 7.6, 8.3 %.

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes, of the same cost as other methods' size of that name), base
            (ViT-B/16 at 224 px, 400 epochs of 1.8 million pairs, the paper's).
        data: "parallax" (sampled stereo pairs), or a folder with a/<name> and b/<name>, two views of each scene.
        mask_ratio: share of masked patches of the first view.
        positions: fixed sines and cosines are added (CroCo), rotary ones turn queries and keys (CroCo v2).
        normalise: predict pixels normalised by patch.
        jitter: largest change of brightness, contrast and saturation, sampled for each view; 0 for none.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)
    settings = common.settings(chosen, betas=(0.9, 0.95), clip=0.0, ema=0.0)

    def build() -> CroCo:
        encoder = CrossViewVit(
            data_config.size, chosen.patch, chosen.width, chosen.depth, chosen.heads, positions=positions
        )
        decoder = CrossViewDecoder(
            data_config.size,
            chosen.patch,
            chosen.width,
            chosen.decoder_width,
            chosen.decoder_depth,
            chosen.decoder_heads,
            positions=positions,
        )
        target = PixelTarget(chosen.patch, normalise=normalise, mean=IMAGENET_MEAN, std=IMAGENET_STD, last=True)
        patches = (data_config.size // chosen.patch) ** 2
        # the share of whole patches that the official code masks: it rounds down, `Random` up
        masking = Random(int(mask_ratio * patches) / patches)
        return CroCo(encoder, decoder, target, masking, jitter=jitter)

    return Pretrain("croco", size, build, data_config, settings)
