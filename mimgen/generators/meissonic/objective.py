"""Masked-token training of a text-to-image generator (MaskGIT; Meissonic section 3).

Masked: a cosine-distributed share of the token ids. In their place: the mask id. Forward: the
generator reads all tokens and the text. Target: the masked ids. Loss: cross-entropy on masked positions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mimgen.generators.base import GeneratorObjective
from mimgen.masking import CosineRate, with_mask_token
from mimgen.ops.distributed import distributed_mean
from mimgen.types import Batch, Losses, Mask


class TextStates(Protocol):
    """Encoded captions: states [B, T, D] and a pooled vector [B, P]."""

    @property
    def states(self) -> Tensor: ...

    @property
    def pooled(self) -> Tensor: ...


class TextEncoder(Protocol):
    """Anything that turns captions into states [B, T, D] and a pooled vector [B, P]."""

    def encode(self, captions: Sequence[str]) -> TextStates: ...


def chunked_cross_entropy(
    hidden: Tensor, targets: Tensor, head: nn.Module, chunk: int
) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy and count of right answers, `chunk` tokens at a time.

    The logits of a chunk are made, used and dropped; the backward pass makes them again, so
    memory is chunk x K instead of M x K.

    Args:
        hidden: [M, D] states of the scored tokens.
        targets: [M] int64 ids.
        head: [*, D] -> [*, K] logits.
        chunk: tokens whose logits exist at a time.
    """

    def part(states: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        logits = head(states).float()
        return F.cross_entropy(logits, ids, reduction="sum"), (logits.argmax(-1) == ids).sum()

    pairs = [
        checkpoint(part, states, ids, use_reentrant=False) if len(hidden) > chunk else part(states, ids)
        for states, ids in zip(hidden.split(chunk), targets.split(chunk), strict=True)
    ]
    return torch.stack([loss for loss, _ in pairs]).sum(), torch.stack([right for _, right in pairs]).sum()


class MaskedTokens(GeneratorObjective):
    """Objective: predict masked token ids from the visible ones and the caption.

    Args:
        transformer: the generator; `states(...)` gives [B, N, D], `mlm_layer` the logits.
        text_encoder: trained along, or frozen when its parameters need no gradient.
        tokenizer: frozen; unused where the batch carries cached codes.
        drop_condition: probability of training a row with the empty caption (classifier-free guidance).
        masking: samples the masked positions and the rate that the model is told.
        chunk: tokens whose logits exist at one time.
        timestep_scale: factor on the rate that the generator is told. 1 tells it the share that is masked, as
            in sampling with the clock "rate"; the release of Meissonic trains with 1000 (its transformer
            multiplies by 1000 again) but samples with whole numbers below the number of steps.

    Raises:
        ValueError: `drop_condition` outside [0, 1).
    """

    text_encoder: Any

    def __init__(
        self,
        transformer: nn.Module,
        text_encoder: nn.Module,
        tokenizer: nn.Module,
        *,
        drop_condition: float = 0.1,
        masking: CosineRate | None = None,
        chunk: int = 8192,
        timestep_scale: float = 1.0,
    ) -> None:
        super().__init__(transformer, tokenizer)
        if not 0 <= drop_condition < 1:
            raise ValueError(f"drop_condition must lie in [0, 1), got {drop_condition}")
        self.text_encoder = text_encoder
        self.drop_condition, self.chunk, self.timestep_scale = drop_condition, chunk, timestep_scale
        self.masking = masking or CosineRate()

    def parts(self) -> dict[str, Any]:
        """What a pipeline is made of."""
        return {**super().parts(), "text_encoder": self.text_encoder}

    def forward(self, batch: Batch) -> Losses:
        """Losses with the term "cross_entropy" (nats a masked token) and the metric "accuracy"."""
        tokens = self.tokens(batch)
        mask, rates = self.masking(tokens[0].numel(), batch.rng)
        text = self.text_encoder.encode(self.captions(batch))
        return self.losses(
            tokens, Mask(mask.masked.to(tokens.device)), rates.to(tokens.device), text, micro_conditions(batch)
        )

    def losses(self, tokens: Tensor, mask: Mask, rates: Tensor, text: TextStates, sizes: Tensor) -> Losses:
        """The loss for chosen samples.

        Args:
            tokens: [B, h, w] int64 ids.
            mask: of the h w tokens.
            rates: [B] masking rates.
            text: states [B, T, D] and pooled [B, P].
            sizes: [B, 5] micro-conditions.
        """
        shown = with_mask_token(tokens.flatten(1), mask, self.transformer.mask_id).view_as(tokens)
        states = self.transformer.states(shown, text.states, text.pooled, self.timestep_scale * rates, sizes)
        total, right = chunked_cross_entropy(
            states[mask.predict], tokens.flatten(1)[mask.predict], self.transformer.mlm_layer, self.chunk
        )
        count = mask.predict.sum()
        return Losses(
            {"cross_entropy": distributed_mean(total, count)},
            metrics={"accuracy": distributed_mean(right.float(), count).detach()},
        )

    def captions(self, batch: Batch) -> list[str]:
        """The captions, some replaced by the empty one with probability `drop_condition`."""
        drop = batch.rng.uniform() < self.drop_condition
        return ["" if d else caption for caption, d in zip(batch.captions, drop.tolist(), strict=True)]


def micro_conditions(batch: Batch) -> Tensor:
    """[B, 5] (width, height, crop left, crop top, score) of a batch; whole images of score 6 by default."""
    if batch.sizes is not None:
        return batch.sizes
    height, width = batch.images.shape[-2:]
    row = torch.tensor([width, height, 0, 0, 6], dtype=torch.float32, device=batch.images.device)
    return row.expand(len(batch), -1)
