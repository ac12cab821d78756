"""iBOT: the teacher's prototypes are an online tokenizer for masked patches (arXiv 2111.07832)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mimgen.data.transforms.views import MultiCrop
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.methods.base import Objective, grid_of
from mimgen.methods.ibot.head import PrototypeHead
from mimgen.methods.ibot.prototypes import Centre, Temperature, across_views, entropy_metrics
from mimgen.methods.moving_average import Momentum, MovingAverage
from mimgen.ops.distributed import distributed_mean
from mimgen.types import Batch, Losses, Mask, SampleRNG, mix_seed


@dataclass(frozen=True)
class IBOTOutput:
    """What a network makes of crops.

    Attributes:
        classes: [B, F] bottleneck features of class tokens.
        patches: [B, N, F] of patch tokens.
        attention: [B, H, 1 + N, 1 + N] of the last block, where asked for.
    """

    classes: Tensor
    patches: Tensor
    attention: Tensor | None = None


class IBOTNetwork(nn.Module):
    """Encoder and head, which the teacher follows together."""

    def __init__(self, encoder: VitEncoder, head: PrototypeHead) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, images: Tensor, mask: Mask | None = None, *, attention: bool = False) -> IBOTOutput:
        """Images [B, 3, H, W] in [0, 1] to features."""
        tokens = self.encoder(images, mask, attention=(-1,) if attention else ())
        features = self.head.features(torch.cat([tokens.prefix, tokens.patches], dim=1))
        return IBOTOutput(features[:, 0], features[:, 1:], tokens.attention[0] if attention else None)


class IBOT(Objective):
    """Cross-entropy across views + cross-entropy of masked patches (iBOT, equations 2 and 3).

    Masked: blocks of patches of the large crops, none in half of these; they are shown as a learned embedding. A
    student sees crops with masked patches and small crops; the teacher, its moving average, sees the large crops
    intact. Targets: the teacher's distribution over prototypes, of each masked patch and of the class token of
    another crop. Loss: two cross-entropies.

    The centres move after the loss of the same step, the teacher after the optimiser's.

    Args:
        encoder: of the student; what is kept afterwards is the teacher's.
        head: takes tokens as wide as the encoder's.
        views: how crops are made of an image.
        masking: which patches of the large crops are masked; rows may differ in number.
        momentum: of the teacher.
        class_temperature: of the teacher's class tokens.
        patch_temperature: of its patches.
        student_temperature: of the student.
        centre_momentum: of the centres of class and patch scores.
        class_weight: of the cross-entropy across views; 0 leaves the patches alone.
        patch_weight: of that of masked patches; 0 leaves DINO, with masked patches.
        freeze: steps at the start during which prototypes do not move.

    Raises:
        UserError: a head of another width, or crops that do not divide into patches.
    """

    target = None  # the teacher makes the targets
    asks_attention = False

    def __init__(
        self,
        encoder: VitEncoder,
        head: PrototypeHead,
        views: MultiCrop,
        masking: Callable[..., Mask],
        *,
        momentum: Momentum | None = None,
        class_temperature: Temperature | None = None,
        patch_temperature: Temperature | None = None,
        student_temperature: float = 0.1,
        centre_momentum: tuple[float, float] = (0.9, 0.9),
        class_weight: float = 1.0,
        patch_weight: float = 1.0,
        freeze: int = 0,
    ) -> None:
        super().__init__()
        if head.config["width"] != encoder.dim:
            raise UserError(
                f"the head takes {head.config['width']} numbers per token: build it with width={encoder.dim}"
            )
        for side in (views.size, *((views.small_size,) if views.small else ())):
            if side % encoder.patch:
                raise UserError(f"crops of {side} pixels do not divide into patches of {encoder.patch}: change one")
        self.student = IBOTNetwork(encoder, head)
        self.teacher = MovingAverage(self.student, momentum or Momentum())
        patch_layer = head.last_layer2 or head.last_layer
        self.class_centre = Centre(len(head.last_layer.weight_v), centre_momentum[0])
        self.patch_centre = Centre(len(patch_layer.weight_v), centre_momentum[1])
        self.views, self.masking, self.freeze = views, masking, freeze
        self.class_temperature = class_temperature or Temperature()
        self.patch_temperature = patch_temperature or Temperature()
        self.student_temperature = student_temperature
        self.weights = {"class": class_weight, "patch": patch_weight}

    @property
    def encoder(self) -> VitEncoder:  # type: ignore[override]
        """The teacher's encoder, which is what iBOT evaluates."""
        return self._teacher.encoder

    @property
    def _teacher(self) -> IBOTNetwork:
        network = self.teacher.module
        assert isinstance(network, IBOTNetwork), "a copy of the student"
        return network

    def forward(self, batch: Batch) -> Losses:
        """Terms "class" and "patch" in nats.

        Metrics `marginal_entropy` and `teacher_entropy`, shares of log K, show a collapse. In training
        mode the centres move.
        """
        views = self.views(batch.images, batch.rng)  # large crops [G, B, 3, S, S] and small ones [L, B, 3, s, s]
        large, (crops, images) = views.large.flatten(0, 1), views.large.shape[:2]  # [G B, 3, S, S]
        teacher, teacher_head = self.teacher(large, attention=self.asks_attention), self._teacher.head
        mask = self.mask_crops(large, teacher, crop_rng(batch.rng, crops))  # [G B, N], rows may differ in number
        student, head = self.student(large, mask), self.student.head
        classes = [student.classes]
        if len(views.small):
            classes.append(self.student(views.small.flatten(0, 1)).classes)  # [L B, F]
        done, frozen = batch.step - 1, batch.step <= self.freeze
        with torch.autocast(large.device.type, enabled=False):
            class_scores = teacher_head.classes(teacher.classes)  # [G B, K]
            class_target = self.class_centre.probabilities(class_scores, self.class_temperature(done))
            class_logs = self._logs(head.classes(torch.cat(classes), frozen=frozen)).unflatten(0, (-1, images))
            # only masked patches are compared, so only theirs are multiplied with all prototypes
            patch_logs = self._logs(head.patches(student.patches[mask.masked], frozen=frozen))  # [M, K]
            patch_scores = teacher_head.patches(teacher.patches[mask.masked])  # [M, K]
            patch_target = self.patch_centre.probabilities(patch_scores, self.patch_temperature(done))
            terms = {
                "class": across_views(class_target.unflatten(0, (crops, images)), class_logs),
                "patch": mean_over_masked(-(patch_target * patch_logs).sum(-1), mask.masked),
            }
            if self.training:
                self.class_centre.update(class_scores)
                # scores are linear in the features, so their mean is the score of the mean
                self.patch_centre.update(teacher_head.patches(teacher.patches.mean(1)))
        return Losses(terms, self.weights, entropy_metrics(class_target))

    def mask_crops(self, crops: Tensor, teacher: IBOTOutput, rng: SampleRNG) -> Mask:
        """The mask [B, N] of crops [B, 3, S, S], which may depend on what the teacher makes of them."""
        mask: Mask = self.masking(grid_of(crops, self.student.encoder.patch), rng)
        return mask.to(crops.device)

    def mask(self, batch: Batch) -> Mask:
        """The mask [B, N] of images that stand for large crops; rows may differ in number."""
        teacher = self.teacher(batch.images, attention=self.asks_attention)
        return self.mask_crops(batch.images, teacher, batch.rng)

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, K], the student's logits of the prototypes at every patch."""
        return self.student.head.patches(self.student(batch.images, mask).patches) / self.student_temperature

    def after_step(self, step: int) -> None:
        """The teacher follows the student after optimiser step `step`, counted from 1."""
        self.teacher.update(self.student, step)

    def clip_groups(self) -> list[list[nn.Parameter]]:
        """Every parameter by itself, as in the official code."""
        return [[parameter] for parameter in self.student.parameters() if parameter.requires_grad]

    def _logs(self, scores: Tensor) -> Tensor:
        return (scores / self.student_temperature).log_softmax(-1)


def mean_over_masked(distance: Tensor, masked: Tensor) -> Tensor:
    """Mean over crops of the mean over their masked patches; a crop without any counts as 0.

    Args:
        distance: [M] of the masked patches, in the order of `masked`.
        masked: [B, N] boolean.
    """
    counts = masked.sum(1).clamp(min=1)
    share = (1 / counts)[:, None].expand(masked.shape)[masked]
    return distributed_mean((distance * share).sum(), torch.tensor(len(masked), device=distance.device))


def crop_rng(rng: SampleRNG, crops: int) -> SampleRNG:
    """Streams for G B crops, crop after crop, from one stream per image."""
    seeds: Sequence[int] = [mix_seed(seed, "crop", crop) for crop in range(crops) for seed in rng.seeds]
    return SampleRNG(seeds)
