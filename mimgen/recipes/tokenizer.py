"""Training a tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimgen.ops.launch import is_main_process
from mimgen.pretrained import PretrainedModule
from mimgen.recipes.common import Recorded
from mimgen.recipes.data_config import DataConfig, loader, preview_samples, record, stack_images
from mimgen.tokenizers import Tokenizer
from mimgen.training import Result, Settings, fit, load_ema


@dataclass(frozen=True)
class TrainTokenizer(Recorded):
    """Train a tokenizer; leaves `<out>/tokenizer`, a folder that `from_pretrained` loads.

    Where the objective has a discriminator, it is left in `<out>/discriminator`: without it nobody
    could resume training the tokenizer on other images.

    Attributes:
        name: name of the config.
        size: name of the size.
        build: makes the objective with fresh weights; its `tokenizer` is what is trained.
        data_config: the data.
        settings: of the loop.
        options: further arguments of the config that differ from its defaults; a run resumes with the same only.
    """

    name: str
    size: str
    build: Callable[[], nn.Module]
    data_config: DataConfig
    settings: Settings
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(self, out: Path) -> Result:
        """Train or resume training in the run folder `out`; returns the loop's result."""
        dataset = self.data_config.open()
        shown = stack_images(preview_samples(dataset))

        def images(objective: Any, step: int) -> dict[str, Tensor]:
            if not isinstance(objective.tokenizer, Tokenizer):
                return {}
            return {"true_and_reconstructed": _pairs(shown, objective.tokenizer)}

        torch.manual_seed(self.settings.seed)
        objective: Any = self.build()
        result = fit(objective, loader(dataset, self.settings), self.settings, out, images=images,
                     record=self.record())  # fmt: skip
        if is_main_process():
            discriminator = getattr(objective, "discriminator", None)
            if isinstance(discriminator, PretrainedModule):
                # as it is, not averaged: it resumes playing where it stopped
                discriminator.save_pretrained(out / "discriminator")
            load_ema(out, objective)
            objective.tokenizer.save_pretrained(out / "tokenizer")
        return result

    def record(self) -> dict[str, Any]:
        """What the checkpoints say about the run."""
        return record(self.name, self.size, self.data_config, self.options)


@torch.no_grad()
def _pairs(data_config: Tensor, tokenizer: Tokenizer) -> Tensor:
    """[2n, 3, H, W]: each image followed by its reconstruction."""
    device = next(tokenizer.parameters()).device if isinstance(tokenizer, nn.Module) else data_config.device
    made = tokenizer.decode(tokenizer.encode(data_config.to(device))).float().cpu()
    return torch.stack([data_config, made], dim=1).flatten(0, 1)
