"""Pretraining an encoder on images alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mimgen.methods.base import Objective
from mimgen.ops.launch import is_main_process
from mimgen.recipes.common import Recorded
from mimgen.recipes.data_config import DataConfig, loader, record
from mimgen.training import Result, Settings, fit, load_ema


@dataclass(frozen=True)
class Pretrain(Recorded):
    """Train an encoder by masked image modelling; leaves `<out>/encoder`, with averaged weights.

    Attributes:
        name: name of the config.
        size: name of the size.
        build: makes the objective with fresh weights; its `encoder` is what is trained.
        data_config: the data.
        settings: of the loop.
        options: further arguments of the config that differ from its defaults; a run resumes with the same only.
    """

    name: str
    size: str
    build: Callable[[], Objective]
    data_config: DataConfig
    settings: Settings
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(self, out: Path) -> Result:
        """Train or resume training in the run folder `out`; returns the loop's result."""
        dataset = self.data_config.open()
        torch.manual_seed(self.settings.seed)
        objective = self.build()
        result = fit(objective, loader(dataset, self.settings), self.settings, out, record=self.record())
        if is_main_process():
            load_ema(out, objective)
            objective.encoder.save_pretrained(out / "encoder")
        return result

    def load(self, out: Path) -> tuple[Objective, int]:
        """The objective trained in `out`, with averaged weights and in evaluation mode, and the step of its checkpoint.

        Raises:
            UserError: there is no checkpoint, or one of another architecture.
        """
        objective = self.build()
        step = load_ema(out, objective)
        return objective.eval(), step

    def record(self) -> dict[str, Any]:
        """What the checkpoints say about the run."""
        return record(self.name, self.size, self.data_config, self.options)
