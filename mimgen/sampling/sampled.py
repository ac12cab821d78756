"""What the sampler returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mimgen.errors import UserError


@dataclass(frozen=True)
class Sampled:
    """What `unmask` returns: [B, N], and behind a pipeline [B, h, w].

    Attributes:
        tokens: [B, N] int64; the mask id remains only where `on_step` cancelled before.
        log_probs: [B, N] float32 log probability of each sampled token under the guided prediction
            (before token temperature and top-k); 0 where the token was known.
        unmasked_at: [B, N] int64 step of revealing from 0; -1 where the token was known or is masked.
    """

    tokens: Tensor
    log_probs: Tensor
    unmasked_at: Tensor

    def step_log_probs(self, steps: int) -> Tensor:
        """[B, steps] log probability of what each step revealed; 0 where it revealed nothing.

        Their sum over the steps is that of `log_probs` over the positions; preference tuning weighs the steps.

        Raises:
            UserError: fewer steps than were made.
        """
        if steps <= int(self.unmasked_at.max()):
            raise UserError(f"steps={steps}, but step {int(self.unmasked_at.max())} revealed tokens: give all steps")
        sums = self.log_probs.new_zeros(len(self.log_probs), steps + 1)
        # tokens that were known at first, at -1, go into the last column, which is cut off
        return sums.scatter_add(1, self.unmasked_at.flatten(1) % (steps + 1), self.log_probs.flatten(1))[:, :steps]
