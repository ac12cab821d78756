"""What the loop asks of whatever it trains."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from mimgen.types import Batch, Losses


class Trainable(nn.Module, ABC):
    """A module that turns a batch into losses, with two hooks for the training loop."""

    @abstractmethod
    def forward(self, batch: Batch) -> Losses:
        """The losses of one batch; `batch.step` and `batch.progress` say where the run stands."""

    def after_step(self, step: int) -> None:
        """Called once after optimiser step `step`, counted from 1: moving-average teachers follow here."""

    def clip_groups(self) -> list[list[nn.Parameter]]:
        """Groups of parameters whose gradients are clipped apart; by default one group of all.

        An objective that holds opponents (generator and discriminator) names one group each, or the larger
        gradient of one would shrink the step of the other.
        """
        return [list(self.parameters())]
