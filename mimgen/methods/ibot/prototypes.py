"""What self-distillation over prototypes needs besides networks: centres, temperatures, pairs of views (DINO)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.ops.distributed import all_reduce_sum, world_size


@dataclass(frozen=True)
class Temperature:
    """The teacher's temperature, rising evenly: too high a one at the start makes all outputs alike.

    Attributes:
        start: until `delay` steps are made.
        end: from `delay` + `steps` steps on.
        steps: length of the rise; 0 for `end` at once.
        delay: steps before the rise.

    Raises:
        UserError: a temperature that is not positive.
    """

    start: float = 0.04
    end: float = 0.04
    steps: int = 0
    delay: int = 0

    def __post_init__(self) -> None:
        if min(self.start, self.end) <= 0:
            raise UserError(f"temperature {self.start} to {self.end}: both lie above 0")

    def __call__(self, step: int) -> float:
        """The temperature after `step` steps."""
        if step < self.delay:
            return self.start
        if step - self.delay >= self.steps:
            return self.end
        # the last step of the rise is at `end` already
        return self.start + (self.end - self.start) * (step - self.delay) / max(1, self.steps - 1)


class Centre(nn.Module):
    """Moving average of what the teacher says, taken off so that no prototype wins always (DINO, equation 4).

    Args:
        prototypes: K.
        momentum: share that is kept at an update.
    """

    value: Tensor

    def __init__(self, prototypes: int, momentum: float = 0.9) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(prototypes))
        self.momentum = momentum

    def probabilities(self, scores: Tensor, temperature: float) -> Tensor:
        """softmax((scores - centre) / temperature) over the last dimension of [..., K], without gradient."""
        return ((scores.detach().float() - self.value) / temperature).softmax(-1)

    @torch.no_grad()
    def update(self, scores: Tensor) -> None:
        """Move towards the mean of scores [B, K] over the batches of all processes."""
        mean = all_reduce_sum(scores.float().mean(0)) / world_size()
        self.value.lerp_(mean, 1 - self.momentum)


def across_views(teacher: Tensor, student: Tensor) -> Tensor:
    """Mean cross-entropy over pairs of different views of the same image (DINO, equation 3).

    Args:
        teacher: [G, B, K] probabilities of the teacher, for the first G views.
        student: [V, B, K] logarithms of the student's, for all views.

    Returns:
        Scalar; 0 where there is one view only.
    """
    pairs = -torch.einsum("gbk,vbk->gv", teacher, student) / teacher.shape[1]
    different = ~torch.eye(len(teacher), len(student), dtype=torch.bool, device=student.device)
    return pairs[different].sum() / max(1, int(different.sum()))


def entropy_metrics(probabilities: Tensor) -> dict[str, Tensor]:
    """How far from collapse [B, K] probabilities are, in shares of log K.

    Returns:
        "variety": entropy of their mean, 0 when one prototype wins always; "doubt": mean of their entropies, 1
        when all prototypes are always alike.
    """
    maximum = torch.tensor(float(probabilities.shape[-1])).log()
    mean = probabilities.mean(0)
    return {"marginal_entropy": torch.special.entr(mean).sum() / maximum,
            "teacher_entropy": torch.special.entr(probabilities).sum(-1).mean() / maximum}  # fmt: skip
