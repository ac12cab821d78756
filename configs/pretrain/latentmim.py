"""LatentMIM: predict latents of masked patches from visible ones, without collapse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.latentmim.networks import LatentDecoder, LatentVit
from mimgen.methods.latentmim.objective import LatentMIM
from mimgen.methods.moving_average import Momentum
from mimgen.recipes import DEFAULT_FLAGS, Pretrain, TrainFlags, choose_size, value_or
from mimgen.recipes.vit_sizes import MaeShape


@dataclass(frozen=True, kw_only=True)
class Size(MaeShape):
    """Numbers of one size; images have cells of `patch` + `gap` pixels, of which `visible` are seen."""

    gap: int
    visible: int
    head_width: int
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(
        pixels=20, patch=4, width=32, depth=2, heads=2, decoder_width=24, decoder_depth=1, decoder_heads=2,
        gap=1, visible=4, head_width=64, batch=8, base_lr=3e-2, warmup=10, steps=100,
    ),
    "emoji64": Size(
        pixels=80, patch=8, width=192, depth=6, heads=3, decoder_width=128, decoder_depth=2, decoder_heads=4,
        gap=2, visible=7, head_width=512, batch=64, base_lr=4e-3, warmup=200, steps=4000,
    ),
    "base": Size(
        pixels=280, patch=16, width=768, depth=12, heads=12, decoder_width=512, decoder_depth=3,
        decoder_heads=16, gap=4, visible=20, head_width=4096, batch=4096, base_lr=1.5e-4, warmup=12_500,
        steps=250_000,
    ),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "emoji",
    loss: Literal["contrast", "squared"] = "contrast",
    gap: int | None = None,
    joint: bool = False,
    similarity_weight: float = 0.1,
    common: TrainFlags = DEFAULT_FLAGS,
) -> Pretrain:
    """Pretrain an encoder: predict which of an image's masked patches is meant, in the space of a slow copy.

    Paper: "Towards Latent Masked Image Modeling for Self-Supervised Visual Representation Learning" (arXiv
    2407.15837).

    Command: mimgen train latentmim --size emoji64 --out runs/latentmim

    Expected: (measured 2026-11-21, 2 CPU cores, mean of 2 seeds, as many operations as MAE takes for 9,600
    images, `mimgen compare mim`) emoji subgroups, five folds: k-NN 40.1, linear 50.3 %; MAE: 34.4, 49.3 %.

    Args:
        size: tiny (seconds), emoji64 (8 x 8 patches of 8 px, minutes), base (ViT-B/16 with 14 x 14 patches, 800 epochs
            of ImageNet, the paper's).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        loss: contrast is the paper's; squared, the error to standardised latents, is there to be compared.
        gap: pixels per side between patches; by default the size's own. 0 is plain patches; then pass --pixels too,
            a multiple of the patch.
        joint: the encoder is specific to it target, with gradient; collapses with the squared loss.
        similarity_weight: weight of the pull of mean similarities; 0 for none.
        common: of every training, see `TrainFlags`.
        pixels: side of the images, a multiple of patch and gap together; by default the size's own.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)
    settings = common.settings(chosen, min_lr_ratio=0.25, betas=(0.9, 0.95), clip=0.0, ema=0.0)

    space = value_or(gap, chosen.gap)
    across = data_config.size // (chosen.patch + space)
    if across * (chosen.patch + space) != data_config.size or across**2 <= chosen.visible:
        raise UserError(
            f"{data_config.size} pixels do not divide into cells of {chosen.patch} + {space} pixels, more than "
            f"{chosen.visible} of them: choose --pixels or --gap to fit"
        )

    def build() -> LatentMIM:
        side = across * chosen.patch
        encoder = LatentVit(
            side, chosen.patch, chosen.width, chosen.depth, chosen.heads, head_width=chosen.head_width
        )
        decoder = LatentDecoder(
            side, chosen.patch, chosen.width, chosen.decoder_width, chosen.decoder_depth, chosen.decoder_heads
        )
        return LatentMIM(
            encoder,
            decoder,
            Random(1 - chosen.visible / across**2),
            None if joint else Momentum(0.99, 1.0, settings.steps),
            gap=space,
            loss=loss,
            similarity_weight=similarity_weight,
        )

    return Pretrain("latentmim", size, build, data_config, settings)
