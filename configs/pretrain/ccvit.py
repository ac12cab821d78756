"""CCViT: masked image modelling with k-means centroids of patches as codes."""

from __future__ import annotations

from dataclasses import dataclass

from mimgen.masking import Block
from mimgen.methods import CCViT
from mimgen.methods.beitv2 import BeitPretraining
from mimgen.recipes import DEFAULT_FLAGS, Pretrain, TrainFlags, choose_size
from mimgen.recipes.patch_codes import fit_patch_centroids, load_patch_codes
from mimgen.tokenizers import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of one size; `masked` and `replaced` of (`pixels` / `patch`)^2 patches enter the loss."""

    pixels: int
    patch: int
    width: int
    depth: int
    heads: int
    early_layers: int
    head_layers: int
    codes: int
    per_code: int
    masked: int
    minimum: int
    replaced: int
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(
        pixels=16, patch=4, width=32, depth=2, heads=2, early_layers=1, head_layers=1, codes=32, per_code=64,
        masked=6, minimum=2, replaced=2, batch=8, base_lr=3e-2, warmup=10, steps=100,
    ),
    "emoji64": Size(
        pixels=64, patch=8, width=192, depth=6, heads=3, early_layers=4, head_layers=1, codes=512,
        per_code=128, masked=24, minimum=4, replaced=6, batch=32, base_lr=8e-3, warmup=100, steps=1000,
    ),
    "base": Size(
        pixels=224, patch=16, width=768, depth=12, heads=12, early_layers=9, head_layers=2, codes=8192,
        per_code=256, masked=75, minimum=16, replaced=20, batch=2048, base_lr=1.875e-4, warmup=6250,
        steps=187_500,
    ),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    tokenizer: str | None = None,
    code_weight: float = 1.0,
    pixel_weight: float = 1.0,
    replaced: int | None = None,
    common: TrainFlags = DEFAULT_FLAGS,
) -> Pretrain:
    """Pretrain an encoder: predict the centroid and the pixels of masked patches and of patches shown as centroids.

    Paper: "Centroid-centered Modeling for Efficient Vision Transformer Pre-training" (arXiv 2303.04664).

    Command: mimgen train ccvit --size emoji64 --out runs/ccvit

    Expected: (measured 2026-11-21, 2 CPU cores, mean of 2 seeds, as many operations as MAE takes for 9,600
    images, `mimgen compare mim`) emoji subgroups, five folds: k-NN 34.5, linear 46.0 %; MAE: 34.4, 49.3 %.

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes), base (ViT-B/16 at 224 px, the paper's).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        tokenizer: folder of a tokenizer with the size's patch; without it, centroids are built first.
        code_weight: weight of the cross-entropy; 0 leaves the pixels alone.
        pixel_weight: weight of the squared error; 0 leaves the codes alone.
        replaced: visible patches shown as centroids; by default the size's own, 0 for none.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)
    settings = common.settings(chosen, betas=(0.9, 0.98), clip=3.0, ema=0.0)

    def build() -> CCViT:
        codes: Tokenizer = (
            load_patch_codes(tokenizer, data_config, chosen.patch)
            if tokenizer
            else fit_patch_centroids(data_config, chosen.patch, chosen.codes, chosen.per_code)
        )
        encoder = BeitPretraining(
            pixels=data_config.size,
            patch=chosen.patch,
            width=chosen.width,
            depth=chosen.depth,
            heads=chosen.heads,
            codes=codes.codebook_size,
            early_layers=chosen.early_layers,
            head_layers=chosen.head_layers,
            second=3 * chosen.patch**2,
        )
        return CCViT(
            encoder,
            codes,
            Block(chosen.masked, chosen.minimum),
            replaced=chosen.replaced if replaced is None else replaced,
            code_weight=code_weight,
            pixel_weight=pixel_weight,
        )

    return Pretrain("ccvit", size, build, data_config, settings)
