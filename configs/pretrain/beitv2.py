"""BEiT v2: predict the codes of a tokenizer that says what a teacher sees."""

from __future__ import annotations

from dataclasses import dataclass

from mimgen.errors import UserError
from mimgen.masking import Block
from mimgen.methods.beitv2 import BeitPretraining, BEiTv2
from mimgen.recipes import DEFAULT_FLAGS, Pretrain, TrainFlags, choose_size
from mimgen.recipes.patch_codes import fit_patch_centroids
from mimgen.tokenizers import ImageQuantizer
from mimgen.tokenizers.open import load_image_quantizer


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of one size; `masked` of (`pixels` / `patch`)^2 patches enter the loss."""

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
    layer_scale: float
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(
        pixels=16, patch=4, width=32, depth=2, heads=2, early_layers=1, head_layers=1, codes=32, per_code=64,
        masked=6, minimum=2, layer_scale=0.1, batch=8, base_lr=3e-2, warmup=10, steps=100,
    ),
    "emoji64": Size(
        pixels=64, patch=8, width=192, depth=6, heads=3, early_layers=4, head_layers=1, codes=512,
        per_code=128, masked=24, minimum=4, layer_scale=0.1, batch=64, base_lr=4e-3, warmup=200, steps=4000,
    ),
    "base": Size(
        pixels=224, patch=16, width=768, depth=12, heads=12, early_layers=9, head_layers=2, codes=8192,
        per_code=256, masked=75, minimum=16, layer_scale=0.1, batch=2048, base_lr=1.875e-4, warmup=6250,
        steps=187_500,
    ),
    "large": Size(
        pixels=224, patch=16, width=1024, depth=24, heads=16, early_layers=21, head_layers=2, codes=8192,
        per_code=256, masked=75, minimum=16, layer_scale=1e-5, batch=2048, base_lr=1.875e-4, warmup=6250,
        steps=187_500,
    ),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    tokenizer: str | None = None,
    bottleneck: bool = True,
    common: TrainFlags = DEFAULT_FLAGS,
) -> Pretrain:
    """Pretrain an encoder: predict the codes of masked patches, also through the class token alone.

    Paper: "BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers" (arXiv 2208.06366).

    Command: mimgen train beitv2 --size emoji64 --tokenizer runs/vqkd --out runs/beitv2

    Expected: (measured 2026-11-21, 2 CPU cores, mean of 2 seeds, as many operations as MAE takes for 9,600
    images, `mimgen compare mim`) emoji subgroups, five folds: k-NN 32.4, linear 44.0 %; MAE: 34.4, 49.3 %.

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes), base and large (ViT-B/16 and ViT-L/16 at 224 px, 300
            epochs of ImageNet, the paper's).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        tokenizer: folder of a `vqkd` run, a converted release, or any tokenizer with the size's patch. Without it
            centroids of patches are built first: codes of how a patch looks, not of what it shows.
        bottleneck: predict the codes per second time from shallow patches and the deep class token.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)
    settings = common.settings(chosen, min_lr_ratio=0.0067, betas=(0.9, 0.98), clip=3.0, ema=0.0)

    def build() -> BEiTv2:
        codes: ImageQuantizer = (
            _codes_of(tokenizer, chosen.patch)
            if tokenizer
            else fit_patch_centroids(data_config, chosen.patch, chosen.codes, chosen.per_code)
        )
        encoder = BeitPretraining(
            pixels=data_config.size,
            patch=chosen.patch,
            width=chosen.width,
            depth=chosen.depth,
            heads=chosen.heads,
            layer_scale=chosen.layer_scale,
            codes=codes.codebook_size,
            early_layers=chosen.early_layers if bottleneck else None,
            head_layers=chosen.head_layers,
        )
        return BEiTv2(encoder, codes, Block(chosen.masked, chosen.minimum))

    return Pretrain("beitv2", size, build, data_config, settings)


def _codes_of(folder: str, patch: int) -> ImageQuantizer:
    """A tokenizer with one code per patch."""
    codes = load_image_quantizer(folder)
    if not codes.codebook_size or codes.downsample != patch:
        raise UserError(
            f"the tokenizer in {folder} has {codes.codebook_size or 'no'} codes, one for {codes.downsample} pixels; "
            f"patches of {patch} px need one each: pass another --tokenizer, or none"
        )
    return codes
