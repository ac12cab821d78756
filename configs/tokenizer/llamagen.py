"""LlamaGen: a convolutional tokenizer with short codes on a sphere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mimgen.generators.initial_weights import load_initial_weights
from mimgen.methods import Reconstruction
from mimgen.recipes import DEFAULT_FLAGS, TrainFlags, TrainTokenizer, choose_size
from mimgen.tokenizers import LlamaGenVQ, open_discriminator, open_perceptual


@dataclass(frozen=True)
class Size:
    """Numbers of one size; `pixels` / 2 ** (levels - 1) tokens per side."""

    pixels: int
    channels: int
    multipliers: tuple[int, ...]
    blocks: int
    z_channels: int
    codes: int
    code_dim: int
    batch: int
    base_lr: float
    steps: int
    adversarial_start: int


SIZES = {
    "tiny": Size(
        pixels=16, channels=32, multipliers=(1, 1, 1), blocks=1, z_channels=32, codes=64, code_dim=8, batch=8,
        base_lr=3.2e-2, steps=100, adversarial_start=50,
    ),
    "emoji64": Size(
        pixels=64, channels=32, multipliers=(1, 1, 2), blocks=1, z_channels=64, codes=1024, code_dim=8,
        batch=8, base_lr=3.2e-2, steps=1500, adversarial_start=750,
    ),
    "base": Size(
        pixels=256, channels=128, multipliers=(1, 1, 2, 2, 4), blocks=2, z_channels=256, codes=16384,
        code_dim=8, batch=128, base_lr=2e-4, steps=400_000, adversarial_start=20_000,
    ),
    "vq8": Size(
        pixels=256, channels=128, multipliers=(1, 2, 2, 4), blocks=2, z_channels=256, codes=16384, code_dim=8,
        batch=128, base_lr=2e-4, steps=400_000, adversarial_start=20_000,
    ),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    entropy: float = 0.0,
    adversarial: float = 0.0,
    perceptual: str | None = None,
    init: str | None = None,
    common: TrainFlags = DEFAULT_FLAGS,
) -> TrainTokenizer:
    """Train LlamaGen's tokenizer; `base` is VQ-16 (16 pixels per token), `vq8` is VQ-8.

    Paper: Sun et al., "Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation", 2024
    (arXiv 2406.06525).

    Command: mimgen train llamagen --size emoji64 --out runs/llamagen

    Expected: (measured 2026-11-21, 2 loaded CPU cores, seed 0) --size emoji64, 3,200 images seen, emoji `val`:
    20.2 dB, 59 % of 1,024 codes in use.

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes on a processor), base (VQ-16, 256 px), vq8 (VQ-8, 256 px).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        entropy: weight of the term that spreads the use of the codes; 0 as in the release.
        adversarial: weight of a PatchGAN that scores the images (LlamaGen: 0.5); 0 for none.
        perceptual: folder with the weights of LPIPS (VGG-16 and linear heads); nothing is downloaded.
        init: folder of an earlier run whose tokenizer, and discriminator if it has one, are trained further.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)
    settings = common.settings(
        chosen,
        # the release trains with Adam, without decay and with a constant rate
        weight_decay=0.0,
        betas=(0.9, 0.95),
    )

    def build() -> Reconstruction:
        tokenizer = LlamaGenVQ(
            channels=chosen.channels,
            multipliers=chosen.multipliers,
            blocks=chosen.blocks,
            z_channels=chosen.z_channels,
            codebook_size=chosen.codes,
            code_dim=chosen.code_dim,
            entropy=entropy,
        )
        discriminator = open_discriminator("patch", data_config.size) if adversarial else None
        objective = Reconstruction(
            tokenizer,
            discriminator,
            l1=0.0,
            l2=1.0,
            perceptual=open_perceptual(Path(perceptual) if perceptual else None),
            adversarial_weight=adversarial,
            adversarial_start=chosen.adversarial_start,
            discriminator_start=chosen.adversarial_start,
            adaptive=False,
        )
        return load_initial_weights(objective, init)

    return TrainTokenizer("llamagen", size, build, data_config, settings)
