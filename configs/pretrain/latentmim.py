"""LatentMIM: tell latents of hidden patches from few visible ones, without collapse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mimgen.encoders.latent import LatentDecoder, LatentVit
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.objectives.latent import LatentModelling
from mimgen.objectives.moving_average import Momentum
from mimgen.recipes import Pictures, Pretrain, choose_size, given
from mimgen.training import Settings


@dataclass(frozen=True)
class Size:
    """Numbers of one size; pictures have cells of `patch` + `gap` pixels, of which `visible` are seen."""

    pixels: int
    patch: int
    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    gap: int
    visible: int
    head_width: int
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(20, 4, 32, 2, 2, 24, 1, 2, 1, 4, 64, 8, 3e-2, 10, 100),
    "emoji64": Size(80, 8, 192, 6, 3, 128, 2, 4, 2, 7, 512, 64, 4e-3, 200, 4000),
    "base": Size(280, 16, 768, 12, 12, 512, 3, 16, 4, 20, 4096, 4096, 1.5e-4, 12_500, 250_000),
}


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    loss: Literal["contrast", "squared"] = "contrast",
    gap: int | None = None,
    joint: bool = False,
    similarity_weight: float = 0.1,
    steps: int | None = None,
    pixels: int | None = None,
    batch_size: int | None = None,
    base_lr: float | None = None,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    time_limit: float | None = None,
    tracker: Literal["tensorboard", "wandb", "none"] = "tensorboard",
    seed: int = 0,
) -> Pretrain:
    """Pretrain an encoder: tell which of a picture's hidden patches is meant, in the space of a slow copy.

    Paper: "Towards Latent Masked Image Modeling for Self-Supervised Visual Representation Learning" (arXiv
    2407.15837).

    Command: mimgen train latentmim --size emoji64 --out runs/latentmim

    Expected: not measured yet

    Args:
        size: tiny (seconds), emoji64 (8 x 8 patches of 8 px, minutes), base (ViT-B/16 with 14 x 14 patches, 800 epochs
            of ImageNet, the paper's).
        data: "emoji", or your pictures: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        loss: contrast is the paper's; squared, the error to standardised latents, is there to be compared.
        gap: pixels a side between patches; by default the size's own. 0 is plain patches; then pass --pixels too,
            a multiple of the patch.
        joint: the encoder is its own target, with gradient; collapses with the squared loss.
        similarity_weight: weight of the pull of mean similarities; 0 for none.
        steps: optimiser steps; by default the size's own.
        pixels: side of the pictures, a multiple of patch and gap together; by default the size's own.
        batch_size: pictures a step; by default the size's own.
        base_lr: learning rate for 256 pictures; by default the size's own.
        precision: auto times both on this machine and takes the faster.
        time_limit: seconds after which training stops with a checkpoint.
        tracker: where curves go besides log.jsonl.
        seed: of weights, data order and masks.
    """
    chosen = choose_size(SIZES, size)
    pictures = Pictures(data, given(pixels, chosen.pixels))
    settings = Settings(
        steps=chosen.steps if steps is None else steps,
        batch_size=given(batch_size, chosen.batch),
        base_lr=given(base_lr, chosen.base_lr),
        warmup=chosen.warmup,
        min_lr_ratio=0.25,
        betas=(0.9, 0.95),
        clip=0.0,
        ema=0.0,
        precision=precision,
        time_limit=time_limit,
        tracker=tracker,
        seed=seed,
    )

    space = given(gap, chosen.gap)
    across = pictures.size // (chosen.patch + space)
    if across * (chosen.patch + space) != pictures.size or across**2 <= chosen.visible:
        raise UserError(
            f"{pictures.size} pixels do not divide into cells of {chosen.patch} + {space} pixels, more than "
            f"{chosen.visible} of them: choose --pixels or --gap to fit"
        )

    def build() -> LatentModelling:
        side = across * chosen.patch
        encoder = LatentVit(
            side, chosen.patch, chosen.width, chosen.depth, chosen.heads, head_width=chosen.head_width
        )
        decoder = LatentDecoder(
            side, chosen.patch, chosen.width, chosen.decoder_width, chosen.decoder_depth, chosen.decoder_heads
        )
        return LatentModelling(
            encoder,
            decoder,
            Random(1 - chosen.visible / across**2),
            None if joint else Momentum(0.99, 1.0, settings.steps),
            gap=space,
            loss=loss,
            similarity_weight=similarity_weight,
            steps=settings.steps,
        )

    differing = {
        "loss": (loss, "contrast"),
        "gap": (gap, None),
        "joint": (joint, False),
        "similarity_weight": (similarity_weight, 0.1),
    }
    options = {name: value for name, (value, usual) in differing.items() if value != usual}
    return Pretrain("latentmim", size, build, pictures, settings, options)
