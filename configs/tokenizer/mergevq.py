"""MergeVQ: one tokenizer that generates and represents with any number of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mimgen.encoders.teachers import open_teacher
from mimgen.errors import UserError
from mimgen.methods.mergevq import MergeVQTraining
from mimgen.recipes import DEFAULT_FLAGS, TrainFlags, TrainTokenizer, choose_size, class_names, value_or
from mimgen.tokenizers import PatchDiscriminator, open_perceptual
from mimgen.tokenizers.mergevq import MergeVQ


@dataclass(frozen=True)
class Variant:
    """Numbers of one variant at one size; `pixels` / 2 ** (levels - 1) tokens per side, before merging."""

    multipliers: tuple[int, ...]
    blocks: int | tuple[int, ...]
    keep: int
    counts: int
    patch_width: int | None = None
    heads: int = 4


@dataclass(frozen=True)
class Size:
    """Numbers of one size, and its variants."""

    pixels: int
    channels: int
    bits: int
    layers: int
    recovery: tuple[int, int, int]
    variants: dict[str, Variant]
    l2: float
    adversarial: float
    crop: bool
    batch: int
    base_lr: float
    betas: tuple[float, float]
    clip: float
    steps: int


SIZES = {
    "tiny": Size(
        pixels=16, channels=16, bits=6, layers=2, recovery=(1, 16, 2),
        variants={
            "G": Variant(multipliers=(1, 1), blocks=(0, 1), keep=25, counts=3),
            "G+R": Variant(multipliers=(1, 1), blocks=(0, 1), keep=25, counts=3),
            "R": Variant(
                multipliers=(1, 1), blocks=(0, 1), keep=16, counts=3, patch_width=16, heads=2,
            ),
        },
        l2=1.0, adversarial=0.0, crop=False, batch=8, base_lr=3e-2, betas=(0.9, 0.99), clip=1.0, steps=50,
    ),
    "emoji64": Size(
        pixels=64, channels=16, bits=10, layers=4, recovery=(2, 64, 4),
        variants={
            "G": Variant(multipliers=(1, 1, 3), blocks=(0, 1, 1), keep=64, counts=6),
            "G+R": Variant(multipliers=(1, 1, 2, 6), blocks=(0, 1, 1, 1), keep=25, counts=5),
            "R": Variant(
                multipliers=(1, 1, 2, 6), blocks=(0, 1, 1, 1), keep=16, counts=5, patch_width=128,
            ),
        },
        l2=1.0, adversarial=0.0, crop=False, batch=16, base_lr=3.2e-2, betas=(0.9, 0.99), clip=1.0, steps=3000,
    ),
    "base": Size(
        pixels=256, channels=64, bits=18, layers=12, recovery=(2, 384, 8),
        variants={
            "G": Variant(multipliers=(1, 2, 4, 8), blocks=4, keep=256, counts=9, heads=8),
            "G+R": Variant(multipliers=(1, 1, 2, 4, 8), blocks=4, keep=144, counts=6, heads=8),
            "R": Variant(
                multipliers=(1, 1, 2, 4, 8), blocks=4, keep=64, counts=6, patch_width=768, heads=12,
            ),
        },
        l2=0.0, adversarial=0.1, crop=True, batch=256, base_lr=1e-4, betas=(0.5, 0.9), clip=5.0,
        steps=1_350_000,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Published:
    """What the paper says of a variant: law of the keep counts (A.3), weights (table A1), head (the release)."""

    law: str
    recovery: float
    alignment: float
    head: str


VARIANTS = {
    "G": Published(law="exponential", recovery=0.5, alignment=0.1, head="layer2"),
    "G+R": Published(law="gaussian", recovery=0.5, alignment=1.0, head="layer3"),
    "R": Published(law="exponential", recovery=1.0, alignment=1.0, head="layer3"),
}


def experiment(
    size: str = "emoji64",
    variant: Literal["G", "G+R", "R"] = "G+R",
    data: str = "emoji",
    keep: int | None = None,
    candidates: str | None = None,
    teacher: str | None = None,
    align: Literal["auto", "kl", "mse", "ce", "none"] = "auto",
    label: str = "group",
    crop: bool | None = None,
    recovery: bool = True,
    sweep: bool = False,
    adversarial: float | None = None,
    perceptual: str | None = None,
    common: TrainFlags = DEFAULT_FLAGS,
) -> TrainTokenizer:
    """Train a tokenizer that merges tokens: images to K binary codes and their positions, and back.

    Paper: Li et al., "MergeVQ: A Unified Framework for Visual Generation and Representation with Disentangled Token
    Merging and Quantization", CVPR 2025 (arXiv 2504.00999).

    Command: mimgen train mergevq --size emoji64 --variant G+R --out runs/mergevq

    Expected: (measured 2026-11-21, 2 loaded CPU cores, seeds 0 to 2) --size emoji64 --align ce, 600 steps, emoji `val`:
    15.2 dB with 16 kept tokens, 15.7 dB with all 64; the learning rate is not tuned.

    Args:
        size: tiny (seconds), emoji64 (64 px, minutes on a processor), base (256 px, the paper's).
        variant: G (convolutions, four times the tokens, to sample), G+R (convolutions), R (plain patches, to
        represent).
        data: "emoji", or your images: a folder, .tar shards, a saved Hugging Face dataset, a parquet file.
        keep: tokens kept in the middle of the keep counts, a square; by default the size's own.
        candidates: keep counts to sample from, such as "gaussian-5" or "exponential-6"; "none" for `keep` alone.
        teacher: folder with a saved DINOv2, CLIP or VitEncoder, to which the class token is aligned.
        align: kl or mse to the teacher, ce to the labels, none; auto is kl where there is a teacher, else none.
        label: label set that ce reads.
        crop: align the class token of a random crop, in a second encoder pass; by default at size base only.
        recovery: learn which code stands where, so that codes without positions can be decoded.
        sweep: go through the keep counts in turn as the released code does, instead of sampling them.
        adversarial: weight of a PatchGAN that scores the images; 0.1 at size base (the release's), else 0.
        perceptual: folder with the weights of LPIPS (VGG-16 and linear heads); nothing is downloaded.
        common: of every training, see `TrainFlags`.
    """
    chosen = choose_size(SIZES, size)
    if variant not in VARIANTS:
        raise UserError(f"variant {variant!r} does not exist; choose from {', '.join(VARIANTS)}")
    if align in ("kl", "mse") and teacher is None:
        raise UserError(f"align {align} follows a teacher: pass --teacher FOLDER, or align ce, which reads labels")
    if align == "auto":
        align = "kl" if teacher else "none"
    shape, paper = chosen.variants[variant], VARIANTS[variant]
    data_config = common.data_config(data, chosen)
    law = candidates or f"{paper.law}-{shape.counts}"
    weight = value_or(adversarial, chosen.adversarial)
    layers, width, heads = chosen.recovery

    def build() -> MergeVQTraining:
        followed = open_teacher(Path(teacher)) if teacher and align in ("kl", "mse") else None
        outputs = followed.dim if followed else len(class_names(data_config, label)[1]) if align == "ce" else None
        tokenizer = MergeVQ(
            resolution=data_config.size,
            channels=chosen.channels,
            multipliers=shape.multipliers,
            blocks=shape.blocks,
            bits=chosen.bits,
            layers=chosen.layers,
            heads=shape.heads,
            patch_width=shape.patch_width,
            keep=keep or shape.keep,
            candidates=None if law == "none" else law,
            head=paper.head if outputs else None,
            rep_dim=outputs or 1,
            recovery_layers=layers if recovery else 0,
            recovery_width=width,
            recovery_heads=heads,
        )
        # group norm in the discriminator: its judgement must not depend on how a batch is split
        patch = PatchDiscriminator(32 if data_config.size < 128 else 64, 3, norm="group") if weight else None
        return MergeVQTraining(
            tokenizer,
            patch,
            teacher=followed,
            alignment=None if align == "none" else align,
            alignment_weight=paper.alignment,
            label=label,
            crop=(0.08, 1.0) if value_or(crop, chosen.crop) else None,  # share of the area, as in the release
            recovery_weight=paper.recovery,
            seed=common.seed,
            sweep=sweep,
            l1=1.0,
            l2=chosen.l2,
            perceptual=open_perceptual(Path(perceptual) if perceptual else None),
            adversarial_weight=weight,
            adaptive=False,
            adversarial="non_saturate",
            lecam=0.01 if weight else 0.0,
        )

    settings = common.settings(chosen, weight_decay=0.0, betas=chosen.betas, clip=chosen.clip)
    return TrainTokenizer("mergevq", size, build, data_config, settings)
