"""VQ-KD: the tokenizer of BEiT v2, whose codes predict what a teacher sees."""

from __future__ import annotations

from dataclasses import dataclass

from mimgen.encoders import open_patch_teacher
from mimgen.methods import FeatureReconstruction
from mimgen.recipes import DEFAULT_FLAGS, TrainFlags, TrainTokenizer, choose_size, value_or
from mimgen.targets import FeatureTarget, HogTarget, PixelTarget, Target
from mimgen.tokenizers import VqKd


@dataclass(frozen=True)
class Size:
    """Numbers of one size; (`pixels` / `patch`)^2 tokens."""

    pixels: int
    patch: int
    width: int
    depth: int
    heads: int
    decoder_depth: int
    codes: int
    code_dim: int
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(
        pixels=16, patch=4, width=32, depth=1, heads=2, decoder_depth=1, codes=32, code_dim=8, batch=8,
        base_lr=3e-2, warmup=10, steps=100,
    ),
    "emoji64": Size(
        pixels=64, patch=8, width=192, depth=4, heads=3, decoder_depth=1, codes=512, code_dim=16, batch=32,
        base_lr=8e-3, warmup=50, steps=600,
    ),
    "base": Size(
        pixels=224, patch=16, width=768, depth=12, heads=12, decoder_depth=3, codes=8192, code_dim=32,
        batch=512, base_lr=1e-4, warmup=25_000, steps=250_000,
    ),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    teacher: str = "hog",
    decoder_depth: int | None = None,
    common: TrainFlags = DEFAULT_FLAGS,
) -> TrainTokenizer:
    """Train a tokenizer whose codes tell a teacher's patch features: a target for masked image modelling.

    Paper: Peng et al., "BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers" (arXiv 2208.06366).

    Command: mimgen train vqkd --size emoji64 --out runs/vqkd

    Expected: not measured yet

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes), base (224 px, the paper's).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        teacher: "hog" or "pixels", which need no weights, or the folder of an encoder (the paper's is CLIP).
        decoder_depth: blocks of the decoder; the deeper, the fewer codes are used.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)
    settings = common.settings(
        chosen,
        min_lr_ratio=0.05,
        weight_decay=1e-4,
        # codes follow the live encoder, so averaged weights would not fit them
        ema=0.0,
    )

    def build() -> FeatureReconstruction:
        target = _target(teacher, chosen.patch)
        tokenizer = VqKd(
            pixels=data_config.size,
            patch=chosen.patch,
            width=chosen.width,
            depth=chosen.depth,
            heads=chosen.heads,
            decoder_depth=value_or(decoder_depth, chosen.decoder_depth),
            codebook_size=chosen.codes,
            code_dim=chosen.code_dim,
            feature_dim=target.dim,
        )
        return FeatureReconstruction(tokenizer, target)

    return TrainTokenizer("vqkd", size, build, data_config, settings)


def _target(teacher: str, patch: int) -> Target:
    """The teacher by the name or folder that the user gave."""
    if teacher == "hog":
        return HogTarget(patch)
    if teacher == "pixels":
        return PixelTarget(patch, normalise=False)
    return FeatureTarget(open_patch_teacher(teacher), patch=patch)
