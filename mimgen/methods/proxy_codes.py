"""Training of a tokenizer to predict another tokenizer's codes (TiTok, stage 1).

Masked: the whole image but for a few latent tokens. In place of the patches: a mask token. Looks: TiTok.
Target: the ids that a frozen teacher gives the image. Loss: cross-entropy at every place of its grid.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.tokenizers.usage import CodeUsage
from mimgen.training import Trainable
from mimgen.types import Batch, Losses


class ProxyCodes(Trainable):
    """Objective: from a few tokens, predict which codes another tokenizer gives the image.

    Args:
        tokenizer: `encode(images)` gives `Codes`, `logits(latents)` [B, K, g, g]; a `TiTokProxy`.
        teacher: any coder with a codebook of K; frozen. It is not run where the batch carries cached codes.
        usage_window: batches over which perplexity and active codes are counted.

    Raises:
        UserError: the teacher has no codebook, or one of another size than the tokenizer predicts.
    """

    # nn.Module types its members as Tensor | Module; these are read through their contracts
    tokenizer: Any
    teacher: Any

    def __init__(self, tokenizer: nn.Module, teacher: nn.Module, *, usage_window: int = 100) -> None:
        super().__init__()
        classes, codes = int(tokenizer.classes), int(teacher.codebook_size)  # type: ignore[arg-type]
        if classes != codes:
            raise UserError(
                f"the tokenizer predicts {classes} classes but its teacher has {codes or 'no'} codes: "
                "build it with classes=teacher.codebook_size, and take a teacher with a codebook"
            )
        self.tokenizer = tokenizer
        self.teacher = teacher.requires_grad_(False).eval()
        self.usage = CodeUsage(self.tokenizer.codebook_size, usage_window)

    def train(self, mode: bool = True) -> ProxyCodes:
        """As usual, but the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, batch: Batch) -> Losses:
        """Losses with `cross_entropy` (nats a code of the teacher) and those of the quantiser.

        Metrics: `accuracy`; `perplexity`, `active_codes` and `dead_codes` over the last batches.
        """
        targets = self.targets(batch)
        codes = self.tokenizer.encode(batch.images)
        logits = self.tokenizer.logits(codes.latents).float()
        if logits.shape[2:] != targets.shape[1:]:
            raise UserError(
                f"the tokenizer predicts a grid of {list(logits.shape[2:])}, its teacher has "
                f"{list(targets.shape[1:])}: build it with decoder_patch=teacher.downsample"
            )
        terms = {"cross_entropy": F.cross_entropy(logits, targets), **codes.losses}
        metrics = {"accuracy": (logits.argmax(1) == targets).float().mean()}
        if self.training:
            self.usage.update(codes.indices)
        return Losses(terms, metrics={**metrics, **self.usage.metrics()})

    @torch.no_grad()
    def targets(self, batch: Batch) -> Tensor:
        """[B, g, g] ids: the cached ones, or those of the teacher."""
        if batch.codes is not None:
            return batch.codes
        return self.teacher.encode(batch.images).indices

    def clip_groups(self) -> list[list[nn.Parameter]]:
        """Parameters whose gradients are clipped together: the tokenizer's."""
        return [[p for p in self.tokenizer.parameters() if p.requires_grad]]
