"""Training a tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimgen.ops.launch import first_process
from mimgen.pretrained import Part
from mimgen.recipes.pictures import Pictures, first, images_of, loader, record
from mimgen.recipes.tokenizers import gives_pictures
from mimgen.tokenizers import Tokenizer
from mimgen.training import Result, Settings, fit, load_ema


@dataclass(frozen=True)
class TrainTokenizer:
    """Train a tokenizer; leaves `<out>/tokenizer`, a folder that `from_pretrained` loads.

    Where the objective has a discriminator, it is left in `<out>/discriminator`: without it nobody
    could go on training the tokenizer on other pictures.

    Attributes:
        name: name of the config.
        size: name of the size.
        build: makes the objective with fresh weights; its `tokenizer` is what is trained.
        pictures: the data.
        settings: of the loop.
        options: further arguments of the config that differ from its defaults; a run goes on with the same only.
    """

    name: str
    size: str
    build: Callable[[], nn.Module]
    pictures: Pictures
    settings: Settings
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(self, out: Path) -> Result:
        """Train or go on training in the run folder `out`; returns the loop's result."""
        dataset = self.pictures.open()
        shown = images_of(first(dataset))

        def images(objective: Any, step: int) -> dict[str, Tensor]:
            if not gives_pictures(objective.tokenizer):
                return {}
            return {"true_and_reconstructed": _pairs(shown, objective.tokenizer)}

        torch.manual_seed(self.settings.seed)
        objective: Any = self.build()
        result = fit(objective, loader(dataset, self.settings), self.settings, out, images=images,
                     record=self.record())  # fmt: skip
        if first_process():
            discriminator = getattr(objective, "discriminator", None)
            if isinstance(discriminator, Part):
                # as it is, not averaged: it goes on playing where it stopped
                discriminator.save_pretrained(out / "discriminator")
            load_ema(out, objective)
            objective.tokenizer.save_pretrained(out / "tokenizer")
        return result

    def record(self) -> dict[str, Any]:
        """What the checkpoints say about the run."""
        return record(self.name, self.size, self.pictures, self.options)


@torch.no_grad()
def _pairs(pictures: Tensor, tokenizer: Tokenizer) -> Tensor:
    """[2n, 3, H, W]: each picture followed by its reconstruction."""
    device = next(tokenizer.parameters()).device if isinstance(tokenizer, nn.Module) else pictures.device
    made = tokenizer.decode(tokenizer.encode(pictures.to(device))).float().cpu()
    return torch.stack([pictures, made], dim=1).flatten(0, 1)
