"""Training of MergeVQ (arXiv 2504.00999): reconstruct from few tokens, recover their positions, follow a teacher."""

from __future__ import annotations

from typing import Any, Unpack, cast

import torch
from torch import Tensor, nn

from mimgen.data.transforms.crops import resized_crops
from mimgen.errors import UserError
from mimgen.methods.alignment import AlignmentKind, distillation_loss, label_loss
from mimgen.methods.reconstruction import Fidelity, Reconstruction
from mimgen.tokenizers.mergevq import MergedCodes, MergeVQ, recovery_loss
from mimgen.training import Trainable
from mimgen.types import Batch, Losses, mix_seed

SWEEP = 100  # steps in which the released code runs through the keep counts once


class MergeVQTraining(Trainable):
    """Objective: reconstruction, source recovery and alignment, with a new keep count at every step.

    total = reconstruction (pixels, perception, adversary, codes) + w_s * recovery + w_a * alignment
    (section 4.1, table A1). The keep count of a step is sampled from the tokenizer's candidates; it depends on the
    seed and the step alone, so that all processes and micro-batches of a step keep as many tokens. In evaluation
    mode the tokenizer's own keep count is used.

    Args:
        tokenizer: what is trained. Its head is aligned, its learned recovery is trained, where it has them.
        discriminator: as in `Reconstruction`.
        teacher: images [B, 3, H, W] in [0, 1] to [B, D]; its width is the tokenizer's `rep_dim`.
        alignment: "kl" or "mse" to the teacher, "ce" to labels; None for none.
        alignment_weight: w_a; the paper has 0.1 (G) and 1 (G+R, R).
        label: label set that "ce" reads.
        crop: smallest and largest area of a random crop whose class token is aligned, in a second encoder
            pass as in the release; None aligns the class token of the reconstructed image, without one.
        recovery_weight: w_s; the paper has 0.5 (G, G+R) and 1 (R).
        seed: of the keep counts.
        sweep: go through the keep counts' quantiles in turn, 100 steps a round, as the released code does
            instead of sampling.
        fidelity: further arguments of `Reconstruction`.

    Raises:
        UserError: alignment without head, without teacher, or to a teacher of another width.
    """

    def __init__(
        self,
        tokenizer: MergeVQ,
        discriminator: nn.Module | None = None,
        *,
        teacher: nn.Module | None = None,
        alignment: AlignmentKind | None = None,
        alignment_weight: float = 1.0,
        label: str = "group",
        crop: tuple[float, float] | None = (0.08, 1.0),
        recovery_weight: float = 0.5,
        seed: int = 0,
        sweep: bool = False,
        **fidelity: Unpack[Fidelity],
    ) -> None:
        super().__init__()
        _check_alignment(tokenizer, teacher, alignment)
        self.reconstruction = Reconstruction(tokenizer, discriminator, **fidelity)
        self.teacher = teacher
        self.alignment: AlignmentKind | None = alignment
        self.weights = {"recovery": recovery_weight, "alignment": alignment_weight}
        self.label, self.crop = label, crop
        self.seed, self.sweep = seed, sweep

    @property
    def tokenizer(self) -> MergeVQ:
        """What is trained."""
        return cast(MergeVQ, self.reconstruction.tokenizer)

    @property
    def discriminator(self) -> nn.Module | None:
        """Who scores the images, if anybody."""
        return self.reconstruction.discriminator

    def clip_groups(self) -> list[list[nn.Parameter]]:
        """Parameters whose gradients are clipped together: the tokenizer's, the discriminator's."""
        return self.reconstruction.clip_groups()

    def keep_at(self, step: int) -> int:
        """The keep count of the step after `step` steps."""
        if self.sweep:
            return self.tokenizer.schedule.sample(step % SWEEP / SWEEP)
        generator = torch.Generator().manual_seed(mix_seed(self.seed, "keep", step))
        return self.tokenizer.schedule.sample(float(torch.rand((), generator=generator)))

    def forward(self, batch: Batch) -> Losses:
        """Losses of one batch.

        Metrics: those of `Reconstruction`; `keep`, the tokens kept; `recovered`, the share of positions whose
        group is recovered.
        """
        keep = self.keep_at(batch.step - 1) if self.training else self.tokenizer.keep
        merged = self.tokenizer.merge(batch.images, keep)
        images = self.tokenizer.reconstruct(merged.codes.latents)
        losses = self.reconstruction.score(batch, images, merged.codes)
        terms, metrics = dict(losses.terms), dict(losses.metrics)
        metrics["keep"] = torch.tensor(float(merged.indices.shape[1]))
        if self.tokenizer.recovery is not None:
            # recovery reads the codes as a generator will give them, and does not shape them
            logits = self.tokenizer.recover(merged.latents.detach())
            terms["recovery"] = recovery_loss(logits, merged.source)
            right = logits.argmax(1) == merged.source.to(torch.uint8).argmax(1)
            metrics["recovered"] = right.float().mean()
        if self.alignment is not None:
            terms["alignment"] = self._aligned(batch, merged, keep)
        return Losses(terms, {**losses.weights, **self.weights}, metrics)

    def _aligned(self, batch: Batch, merged: MergedCodes, keep: int) -> Tensor:
        """Distance of the head's vector from the teacher's, or from the label."""
        if self.crop is None or not self.training:
            student = self.tokenizer.encoder.represent(merged.encoded)
        else:
            side = min(batch.images.shape[-2:]) // self.tokenizer.downsample * self.tokenizer.downsample
            crops = resized_crops(batch.images, batch.rng.uniform(5), side, self.crop)
            student = self.tokenizer.represent(crops, keep)
        if self.alignment != "ce":
            assert self.alignment is not None
            assert self.teacher is not None
            return distillation_loss(self.alignment, student, self.teacher(batch.images))
        if self.label not in batch.labels:
            raise UserError(
                f'alignment "ce" needs the label set "{self.label}", and the images have '
                f"{', '.join(batch.labels) or 'none'}: give another label set, or a teacher"
            )
        labels = batch.labels[self.label]
        if int(labels.max()) >= student.shape[1]:
            raise UserError(
                f'label set "{self.label}" has a class {int(labels.max())} and the head predicts {student.shape[1]} '
                f"classes apart: build MergeVQ with rep_dim={int(labels.max()) + 1} or more"
            )
        return label_loss(student, labels)


def _check_alignment(tokenizer: MergeVQ, teacher: nn.Module | None, alignment: AlignmentKind | None) -> None:
    head = tokenizer.encoder.dist_head
    if alignment is None:
        if head is not None:
            raise UserError("nothing trains the head of this MergeVQ: give alignment=..., or build it with head=None")
        return
    if alignment not in ("kl", "mse", "ce"):
        raise UserError(f"alignment {alignment!r} is unknown: choose kl or mse (to a teacher), or ce (to labels)")
    if head is None:
        raise UserError("alignment needs a head on the class token: build MergeVQ with head='layer3' or 'layer2'")
    if alignment == "ce":
        return
    if teacher is None:
        raise UserError(f"alignment {alignment!r} needs a teacher: give one (DINOv2, CLIP, VitEncoder), or choose ce")
    width, wanted = int(cast(Any, tokenizer).config["rep_dim"]), int(cast(Any, teacher).dim)
    if width != wanted:
        raise UserError(f"the teacher gives {wanted} numbers and the head {width}: build MergeVQ with rep_dim={wanted}")
