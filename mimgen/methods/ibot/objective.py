"""iBOT: the teacher's prototypes are an online tokenizer for hidden patches (arXiv 2111.07832).

Hidden: blocks of patches of the large crops, and nothing of half of them. In their place: a learned embedding.
Looks: a student at crops with hidden patches and at small crops, its moving average at the intact large crops.
Targets: the teacher's distribution over prototypes, of each hidden patch and of the class token of another
crop. Loss: two cross-entropies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mimgen.data.transforms.views import MultiCrop, Views
from mimgen.errors import UserError
from mimgen.methods.ibot.encoder import IbotVit
from mimgen.methods.ibot.head import PrototypeHead
from mimgen.methods.ibot.prototypes import Centre, Temperature, across_views, spread
from mimgen.methods.moving_average import Momentum, MovingAverage
from mimgen.ops.distributed import mean_over_ranks
from mimgen.types import Batch, Draws, Losses, Mask, mix_seed


@dataclass(frozen=True)
class Seen:
    """What a network makes of crops.

    Attributes:
        classes: [B, F] bottleneck features of class tokens.
        patches: [B, N, F] of patch tokens.
        attention: [B, H, 1 + N, 1 + N] of the last block, where asked for.
    """

    classes: Tensor
    patches: Tensor
    attention: Tensor | None = None


class Distilled(nn.Module):
    """Encoder and head, which the teacher follows together."""

    def __init__(self, encoder: IbotVit, head: PrototypeHead) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, images: Tensor, mask: Mask | None = None, *, attention: bool = False) -> Seen:
        """Pictures [B, 3, H, W] in [0, 1] to features."""
        tokens = self.encoder(images, mask, attention=(-1,) if attention else ())
        features = self.head.features(torch.cat([tokens.prefix, tokens.patches], dim=1))
        return Seen(features[:, 0], features[:, 1:], tokens.attention[0] if attention else None)


class SelfDistillation(nn.Module):
    """Objective: cross-entropy across views + cross-entropy of hidden patches (iBOT, equations 2 and 3).

    The centres move after the loss of the same step, the teacher after the optimiser's.

    Args:
        encoder: of the student; what is kept afterwards is the teacher's.
        head: takes tokens as wide as the encoder's.
        views: how crops are made of a picture.
        masking: which patches of the large crops are hidden; rows may differ in number.
        momentum: of the teacher.
        class_temperature: of the teacher's class tokens.
        patch_temperature: of its patches.
        student_temperature: of the student.
        centre_momentum: of the centres of class and patch scores.
        class_weight: of the cross-entropy across views; 0 leaves the patches alone.
        patch_weight: of that of hidden patches; 0 leaves DINO, with hidden patches.
        freeze: steps at the start during which prototypes do not move.

    Raises:
        UserError: a head of another width, or crops that do not divide into patches.
    """

    step: Tensor
    asks_attention = False

    def __init__(
        self,
        encoder: IbotVit,
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
            raise UserError(f"the head takes {head.config['width']} numbers a token: build it with width={encoder.dim}")
        for side in (views.size, *((views.small_size,) if views.small else ())):
            if side % encoder.patch:
                raise UserError(f"crops of {side} pixels do not divide into patches of {encoder.patch}: change one")
        self.student = Distilled(encoder, head)
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
    def encoder(self) -> IbotVit:
        """The teacher's encoder, which is what iBOT evaluates."""
        return self._teacher.encoder

    @property
    def _teacher(self) -> Distilled:
        network = self.teacher.module
        assert isinstance(network, Distilled), "a copy of the student"
        return network

    def forward(self, batch: Batch) -> Losses:
        """Terms "class" and "patch" (nats); metrics `variety` and `doubt`, shares of log K, tell of a collapse."""
        views = self.views(batch.images, batch.draws)
        taught = self.teach(views.large)
        return self.losses(views, taught, self.mask(views.large, taught, batch.draws))

    def teach(self, large: Tensor) -> Seen:
        """What the teacher makes of large crops [G, B, 3, S, S], as G B rows, crop after crop."""
        return self.teacher(large.flatten(0, 1), attention=self.asks_attention)

    def mask(self, large: Tensor, taught: Seen, draws: Draws) -> Mask:
        """The mask of G B large crops [G, B, 3, S, S], in the order of `teach`."""
        mask = self.masking(self._grid(large), crop_draws(draws, len(large)))
        return Mask(mask.hidden.to(large.device))

    def losses(self, views: Views, taught: Seen, mask: Mask) -> Losses:
        """The losses for chosen crops and masks; in training mode the centres move.

        Args:
            views: large crops [G, B, 3, S, S] and small ones [L, B, 3, s, s] in [0, 1].
            taught: what the teacher makes of the large ones.
            mask: [G B, N], which patches of them are hidden from the student.
        """
        crops, pictures = views.large.shape[:2]
        seen, head = self.student(views.large.flatten(0, 1), mask), self.student.head
        classes = [seen.classes]
        if len(views.small):
            classes.append(self.student(views.small.flatten(0, 1)).classes)
        frozen, step = int(self.step) < self.freeze, int(self.step)
        with torch.autocast(views.large.device.type, enabled=False):
            logs = self._logs(head.classes(torch.cat(classes), frozen=frozen)).unflatten(0, (-1, pictures))
            scores = self._teacher.head.classes(taught.classes)
            goal = self.class_centre.probabilities(scores, self.class_temperature(step))
            # only hidden patches are compared, so only theirs are multiplied with all prototypes
            hidden = mask.hidden
            said = self._logs(head.patches(seen.patches[hidden], frozen=frozen))
            patch_scores = self._teacher.head.patches(taught.patches[hidden])
            patch_goal = self.patch_centre.probabilities(patch_scores, self.patch_temperature(step))
            terms = {
                "class": across_views(goal.unflatten(0, (crops, pictures)), logs),
                "patch": of_hidden(-(patch_goal * said).sum(-1), hidden),
            }
            if self.training:
                self.class_centre.update(scores)
                # scores are linear in the features, so their mean is the score of the mean
                self.patch_centre.update(self._teacher.head.patches(taught.patches.mean(1)))
        return Losses(terms, self.weights, spread(goal))

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


def of_hidden(distance: Tensor, hidden: Tensor) -> Tensor:
    """Mean over crops of the mean over their hidden patches; a crop without any counts as 0.

    Args:
        distance: [M] of the hidden patches, in the order of `hidden`.
        hidden: [B, N] boolean.
    """
    counts = hidden.sum(1).clamp(min=1)
    share = (1 / counts)[:, None].expand(hidden.shape)[hidden]
    return mean_over_ranks((distance * share).sum(), torch.tensor(len(hidden), device=distance.device))


def crop_draws(draws: Draws, crops: int) -> Draws:
    """Streams for G B crops, crop after crop, from one stream a picture."""
    seeds: Sequence[int] = [mix_seed(seed, "crop", crop) for crop in range(crops) for seed in draws.seeds]
    return Draws(seeds)
