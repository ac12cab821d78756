"""iBOT: the teacher's prototypes are an online tokenizer for masked patches (arXiv 2111.07832).

Masked: blocks of patches of the large crops, and nothing of half of them. In their place: a learned embedding.
Looks: a student at crops with masked patches and at small crops, its moving average at the intact large crops.
Targets: the teacher's distribution over prototypes, of each masked patch and of the class token of another
crop. Loss: two cross-entropies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mimgen.data.transforms.views import MultiCrop, Views
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.methods.ibot.head import PrototypeHead
from mimgen.methods.ibot.prototypes import Centre, Temperature, across_views, entropy_metrics
from mimgen.methods.moving_average import Momentum, MovingAverage
from mimgen.ops.distributed import distributed_mean
from mimgen.training import Trainable
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


class IBOT(Trainable):
    """Objective: cross-entropy across views + cross-entropy of masked patches (iBOT, equations 2 and 3).

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

    step: Tensor
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
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @property
    def encoder(self) -> VitEncoder:
        """The teacher's encoder, which is what iBOT evaluates."""
        return self._teacher.encoder

    @property
    def _teacher(self) -> IBOTNetwork:
        network = self.teacher.module
        assert isinstance(network, IBOTNetwork), "a copy of the student"
        return network

    def forward(self, batch: Batch) -> Losses:
        """Terms "class" and "patch" in nats.

        Metrics `marginal_entropy` and `teacher_entropy`, shares of log K, show a collapse.
        """
        views = self.views(batch.images, batch.rng)
        teacher_output = self.teach(views.large)
        return self.losses(views, teacher_output, self.mask(views.large, teacher_output, batch.rng))

    def teach(self, large: Tensor) -> IBOTOutput:
        """What the teacher makes of large crops [G, B, 3, S, S], as G B rows, crop after crop."""
        return self.teacher(large.flatten(0, 1), attention=self.asks_attention)

    def mask(self, large: Tensor, teacher_output: IBOTOutput, rng: SampleRNG) -> Mask:
        """The mask of G B large crops [G, B, 3, S, S], in the order of `teach`."""
        mask = self.masking(self._grid(large), crop_rng(rng, len(large)))
        return Mask(mask.masked.to(large.device))

    def losses(self, views: Views, teacher_output: IBOTOutput, mask: Mask) -> Losses:
        """The losses for chosen crops and masks; in training mode the centres move.

        Args:
            views: large crops [G, B, 3, S, S] and small ones [L, B, 3, s, s] in [0, 1].
            teacher_output: what the teacher makes of the large ones.
            mask: [G B, N], which patches of them are masked from the student.
        """
        crops, images = views.large.shape[:2]
        student_output, head = self.student(views.large.flatten(0, 1), mask), self.student.head
        classes = [student_output.classes]
        if len(views.small):
            classes.append(self.student(views.small.flatten(0, 1)).classes)
        frozen, step = int(self.step) < self.freeze, int(self.step)
        with torch.autocast(views.large.device.type, enabled=False):
            logs = self._logs(head.classes(torch.cat(classes), frozen=frozen)).unflatten(0, (-1, images))
            scores = self._teacher.head.classes(teacher_output.classes)
            goal = self.class_centre.probabilities(scores, self.class_temperature(step))
            # only masked patches are compared, so only theirs are multiplied with all prototypes
            masked = mask.masked
            student_logits = self._logs(head.patches(student_output.patches[masked], frozen=frozen))
            patch_scores = self._teacher.head.patches(teacher_output.patches[masked])
            patch_goal = self.patch_centre.probabilities(patch_scores, self.patch_temperature(step))
            terms = {
                "class": across_views(goal.unflatten(0, (crops, images)), logs),
                "patch": mean_over_masked(-(patch_goal * student_logits).sum(-1), masked),
            }
            if self.training:
                self.class_centre.update(scores)
                # scores are linear in the features, so their mean is the score of the mean
                self.patch_centre.update(self._teacher.head.patches(teacher_output.patches.mean(1)))
        return Losses(terms, self.weights, entropy_metrics(goal))

    def after_step(self, step: int) -> None:
        """The teacher follows the student after optimiser step `step`, counted from 1."""
        self.teacher.update(self.student, step)
        self.step.fill_(step)

    def clip_groups(self) -> list[list[nn.Parameter]]:
        """Every parameter by itself, as in the official code."""
        return [[parameter] for parameter in self.student.parameters() if parameter.requires_grad]

    def _logs(self, scores: Tensor) -> Tensor:
        return (scores / self.student_temperature).log_softmax(-1)

    def _grid(self, large: Tensor) -> tuple[int, int]:
        patch = self.student.encoder.patch
        return large.shape[-2] // patch, large.shape[-1] // patch


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
