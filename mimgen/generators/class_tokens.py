"""Masked-token training of a class-conditional generator (MaskGIT, section 3.1).

Masked: an arccos-distributed share of the token ids. In their place: the mask id. Forward: the generator reads all
tokens and the class, which is dropped for some rows. Targets: the ids. Loss: cross-entropy on masked positions;
visible ones may count, too (weight 0.1 in TiTok, 1 in the code of Halton-MaskGIT).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.generators.base import GeneratorObjective
from mimgen.masking import with_mask_token
from mimgen.masking.rate import ArccosRate, CosineRate
from mimgen.ops.distributed import distributed_mean
from mimgen.types import Batch, Losses, Mask


class ClassTokens(GeneratorObjective):
    """Objective: predict masked token ids from the visible ones and the class.

    Args:
        transformer: the generator: `(tokens [B, N], labels [B]) -> logits [B, N, K]`, `mask_id`, and `dropped`,
            the id of no class.
        tokenizer: frozen; unused where the batch carries cached codes.
        label: name of the labels of the batch.
        classes: names of the classes, which are saved with the pipeline; may be empty.
        drop_label: probability of training a row without its class (classifier-free guidance).
        masking: samples the masked positions.
        label_smoothing: share of the target that is spread over all codes.
        visible_weight: weight in the loss of a position that is not masked.

    Raises:
        UserError: a share outside [0, 1), or a negative weight.
    """

    def __init__(
        self,
        transformer: nn.Module,
        tokenizer: nn.Module,
        *,
        label: str = "group",
        classes: Sequence[str] = (),
        drop_label: float = 0.1,
        masking: ArccosRate | CosineRate | None = None,
        label_smoothing: float = 0.0,
        visible_weight: float = 0.0,
    ) -> None:
        super().__init__(transformer, tokenizer)
        for name, share in (("drop_label", drop_label), ("label_smoothing", label_smoothing)):
            if not 0 <= share < 1:
                raise UserError(f"{name}={share}: give a share from 0 to below 1")
        if visible_weight < 0:
            raise UserError(f"visible_weight={visible_weight}: give 0 or more")
        self.label, self.classes = label, tuple(classes)
        self.drop_label, self.masking = drop_label, masking or ArccosRate()
        self.label_smoothing, self.visible_weight = label_smoothing, visible_weight

    def parts(self) -> dict[str, Any]:
        """What a pipeline is made of, with the names of the classes."""
        return {**super().parts(), "classes": self.classes, "label": self.label}

    def forward(self, batch: Batch) -> Losses:
        """Losses with the term "cross_entropy" (nats per token) and the metric "accuracy" of masked tokens.

        Raises:
            UserError: the batch lacks the labels.
        """
        if self.label not in batch.labels:
            known = ", ".join(batch.labels) or "none"
            raise UserError(f'the data have no labels "{self.label}" (they have {known}): choose others with label')
        tokens = self.tokens(batch).flatten(1)  # [B, N]
        mask = Mask(self.masking(tokens.shape[1], batch.rng)[0].masked.to(tokens.device))
        drop = (batch.rng.uniform() < self.drop_label).to(tokens.device)
        return self.losses(tokens, batch.labels[self.label].to(tokens.device), mask, drop)

    def losses(self, tokens: Tensor, labels: Tensor, mask: Mask, drop: Tensor) -> Losses:
        """The loss for chosen samples.

        Args:
            tokens: [B, N] int64 ids.
            labels: [B] int64 classes.
            mask: of the tokens.
            drop: [B] boolean, true where the class is dropped.
        """
        labels = torch.where(drop, self.transformer.dropped, labels)
        logits = self.transformer(with_mask_token(tokens, mask, self.transformer.mask_id), labels).float()
        each = F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none", label_smoothing=self.label_smoothing)
        masked = mask.predict.float()
        weight = masked + self.visible_weight * (1 - masked)  # [B, N]
        right = (logits.argmax(-1) == tokens).float() * masked
        return Losses(
            {"cross_entropy": distributed_mean((each * weight).sum(), weight.sum())},
            metrics={"accuracy": distributed_mean(right.sum(), masked.sum()).detach()},
        )
