"""MergeVQ: one tokenizer that generates and represents with any number of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mimgen.encoders.teachers import open_teacher
from mimgen.errors import UserError
from mimgen.methods.mergevq import MergeVQTraining
from mimgen.recipes import DEFAULT_FLAGS, DataConfig, TrainFlags, TrainTokenizer, choose_size
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
    "tiny": Size(16, 16, 6, 2, (1, 16, 2), {
        "G": Variant((1, 1), (0, 1), 25, 3),
        "G+R": Variant((1, 1), (0, 1), 25, 3),
        "R": Variant((1, 1), (0, 1), 16, 3, patch_width=16, heads=2),
    }, 1.0, 0.0, False, 8, 3e-2, (0.9, 0.99), 1.0, 50),
    "emoji64": Size(64, 16, 10, 4, (2, 64, 4), {
        "G": Variant((1, 1, 3), (0, 1, 1), 64, 6),
        "G+R": Variant((1, 1, 2, 6), (0, 1, 1, 1), 25, 5),
        "R": Variant((1, 1, 2, 6), (0, 1, 1, 1), 16, 5, patch_width=128),
    }, 1.0, 0.0, False, 16, 3.2e-2, (0.9, 0.99), 1.0, 3000),
    "base": Size(256, 64, 18, 12, (2, 384, 8), {
        "G": Variant((1, 2, 4, 8), 4, 256, 9, heads=8),
        "G+R": Variant((1, 1, 2, 4, 8), 4, 144, 6, heads=8),
        "R": Variant((1, 1, 2, 4, 8), 4, 64, 6, patch_width=768, heads=12),
    }, 0.0, 0.1, True, 256, 1e-4, (0.5, 0.9), 5.0, 1_350_000),
}  # fmt: skip


@dataclass(frozen=True)
class Published:
    """What the paper says of a variant: law of the keep counts (A.3), weights (table A1), head (the release)."""

    law: str
    recovery: float
    alignment: float
    head: str


VARIANTS = {
    "G": Published("exponential", 0.5, 0.1, "layer2"),
    "G+R": Published("gaussian", 0.5, 1.0, "layer3"),
    "R": Published("exponential", 1.0, 1.0, "layer3"),
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
    settings = common.settings(chosen, weight_decay=0.0, betas=chosen.betas, clip=chosen.clip)
    data_config = common.data_config(data, chosen)
    law = candidates or f"{VARIANTS[variant].law}-{chosen.variants[variant].counts}"
    model = ModelConfig(chosen, variant, data_config, keep, law, recovery)
    alignment_config = AlignmentConfig(
        teacher, ("kl" if teacher else "none") if align == "auto" else align, label, crop
    )
    loss_config = LossConfig(adversarial, perceptual, sweep, common.seed)
    return TrainTokenizer("mergevq", size, lambda: _build(model, alignment_config, loss_config), data_config, settings)


@dataclass(frozen=True)
class ModelConfig:
    """What the tokenizer is built from."""

    size: Size
    variant: str
    data_config: DataConfig
    keep: int | None
    candidates: str
    recovery: bool

    def build(self, outputs: int | None) -> MergeVQ:
        """The tokenizer; `outputs` is the width of its head, None for no head."""
        shape = self.size.variants[self.variant]
        layers, width, heads = self.size.recovery
        return MergeVQ(
            resolution=self.data_config.size,
            channels=self.size.channels,
            multipliers=shape.multipliers,
            blocks=shape.blocks,
            bits=self.size.bits,
            layers=self.size.layers,
            heads=shape.heads,
            patch_width=shape.patch_width,
            keep=self.keep or shape.keep,
            candidates=None if self.candidates == "none" else self.candidates,
            head=None if outputs is None else VARIANTS[self.variant].head,
            rep_dim=outputs or 1,
            recovery_layers=layers if self.recovery else 0,
            recovery_width=width,
            recovery_heads=heads,
        )


@dataclass(frozen=True)
class AlignmentConfig:
    """What the class token is aligned to."""

    teacher: str | None
    kind: Literal["kl", "mse", "ce", "none"]
    label: str
    crop: bool | None


@dataclass(frozen=True)
class LossConfig:
    """What else is asked of the images, and how keep counts are sampled."""

    adversarial: float | None
    perceptual: str | None
    sweep: bool
    seed: int


def _build(model: ModelConfig, alignment_config: AlignmentConfig, loss_config: LossConfig) -> MergeVQTraining:
    """The objective with fresh weights."""
    size, paper = model.size, VARIANTS[model.variant]
    teacher = (
        open_teacher(Path(alignment_config.teacher))
        if alignment_config.teacher and alignment_config.kind in ("kl", "mse")
        else None
    )
    outputs = (
        _classes(model.data_config, alignment_config.label)
        if alignment_config.kind == "ce"
        else teacher.dim
        if teacher
        else None
    )
    weight = size.adversarial if loss_config.adversarial is None else loss_config.adversarial
    return MergeVQTraining(
        model.build(outputs),
        # group norm in the discriminator: its judgement must not depend on how a batch is split
        PatchDiscriminator(32 if model.data_config.size < 128 else 64, 3, norm="group") if weight else None,
        teacher=teacher,
        alignment=None if alignment_config.kind == "none" else alignment_config.kind,
        alignment_weight=paper.alignment,
        label=alignment_config.label,
        crop=(0.08, 1.0) if (size.crop if alignment_config.crop is None else alignment_config.crop) else None,
        recovery_weight=paper.recovery,
        seed=loss_config.seed,
        sweep=loss_config.sweep,
        l1=1.0,
        l2=size.l2,
        perceptual=open_perceptual(Path(loss_config.perceptual) if loss_config.perceptual else None),
        adversarial_weight=weight,
        adaptive=False,
        adversarial="non_saturate",
        lecam=0.01 if weight else 0.0,
    )


def _classes(data_config: DataConfig, label: str) -> int:
    """Number of classes of a label set of the images."""
    names = data_config.open().label_names
    if label not in names:
        known = ", ".join(names) or "none"
        raise UserError(f"these images have no label set {label!r}, but {known}: give another label")
    return len(names[label])
