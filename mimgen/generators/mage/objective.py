"""MAGE: one training for generation and for features (Li et al., CVPR 2023, section 3).

Masked: a share of the token ids, sampled anew for each image. In their place: nothing for most of them, which the
encoder never sees, and the mask id for the rest. Forward: the encoder, then the decoder, which reads the class
slot's output at every masked position. Targets: the ids. Loss: smoothed cross-entropy on masked tokens.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.generators.base import GeneratorObjective
from mimgen.generators.mage.masking import TwoLevel
from mimgen.masking import with_mask_token
from mimgen.ops.distributed import distributed_mean
from mimgen.types import Batch, Losses, Mask


class MAGE(GeneratorObjective):
    """Objective: predict masked token ids from the few that the encoder sees.

    Args:
        transformer: a `MageTransformer`.
        tokenizer: frozen; unused where the batch carries cached codes.
        masking: samples the masked and the dropped tokens.
        label_smoothing: share of the target that is spread over all codes.

    Raises:
        UserError: a share outside [0, 1).
    """

    def __init__(
        self,
        transformer: nn.Module,
        tokenizer: nn.Module,
        *,
        masking: TwoLevel | None = None,
        label_smoothing: float = 0.1,
    ) -> None:
        super().__init__(transformer, tokenizer)
        if not 0 <= label_smoothing < 1:
            raise UserError(f"label_smoothing={label_smoothing}: give a share from 0 to below 1")
        self.masking, self.label_smoothing = masking or TwoLevel(), label_smoothing

    def forward(self, batch: Batch) -> Losses:
        """Losses with the term "cross_entropy" (nats a masked token) and the metric "accuracy"."""
        tokens = self.tokens(batch).flatten(1)  # [B, N]
        masked, dropped = self.masking(tokens.shape[1], batch.rng)
        return self.losses(tokens, Mask(masked.masked.to(tokens.device)), Mask(dropped.masked.to(tokens.device)))

    def losses(self, tokens: Tensor, masked: Mask, dropped: Mask) -> Losses:
        """The loss of ids [B, N] for chosen masks; every dropped token must be a masked one."""
        scored = masked.predict
        # of the masked tokens alone, [n, K]
        logits = self.transformer.head(self.states(tokens, masked, dropped)[scored]).float()
        right, goal = logits.argmax(-1) == tokens[scored], tokens[scored]
        total = F.cross_entropy(logits, goal, reduction="sum", label_smoothing=self.label_smoothing)
        return Losses(
            {"cross_entropy": distributed_mean(total, scored.sum())},
            metrics={"accuracy": distributed_mean(right.float().sum(), scored.sum()).detach()},
        )

    def states(self, tokens: Tensor, masked: Mask, dropped: Mask) -> Tensor:
        """[B, N, E], what the decoder says of every token."""
        shown = with_mask_token(tokens, masked, self.transformer.mask_id)
        latent = self.transformer.encode(shown, dropped.keep)[-1]
        return self.transformer.decode(latent, masked.masked, dropped.keep)
