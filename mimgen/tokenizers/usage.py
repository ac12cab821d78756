"""How much of a codebook is used: perplexity, active and dead codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimgen.ops.distributed import all_reduce_sum


class CodeUsage(nn.Module):
    """Counts codes over an epoch or a window, summed over processes.

    Perplexity within one batch grows with the batch size, so it is counted over many batches.
    The counts are buffers: they follow the device and the checkpoint.

    Args:
        codebook_size: number K of codes.
        window: number of updates to look back on. The counts then cover between one and two
            windows; without it, everything since `reset`.
    """

    counts: Tensor
    updates: Tensor

    def __init__(self, codebook_size: int, window: int | None = None) -> None:
        super().__init__()
        self.codebook_size = codebook_size
        self.window = window
        # this window and the last
        self.register_buffer("counts", torch.zeros(2, codebook_size, dtype=torch.int64))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def reset(self) -> None:
        """Forget every count."""
        self.counts.zero_()
        self.updates.zero_()

    @torch.no_grad()
    def update(self, indices: Tensor) -> None:
        """Add token ids of any shape, int64 in [0, K); every process must call it."""
        if self.window is not None and int(self.updates) >= self.window:
            # this window becomes the last
            self.counts.copy_(torch.stack([torch.zeros_like(self.counts[0]), self.counts[0]]))
            self.updates.zero_()
        fresh = torch.bincount(indices.flatten(), minlength=self.codebook_size)  # [K]
        self.counts[0] += all_reduce_sum(fresh)
        self.updates += 1

    @torch.no_grad()
    def metrics(self) -> dict[str, Tensor]:
        """Scalars over the counted tokens.

        Returns:
            `perplexity`, exp of the entropy of the code frequencies, in [1, K]; `active_codes`,
            codes seen at least once; `dead_codes`, the others.
        """
        counts = self.counts.sum(0)
        share = counts.float() / counts.sum().clamp(min=1)
        active = (counts > 0).sum().float()
        return {
            "perplexity": torch.special.entr(share).sum().exp(),
            "active_codes": active,
            "dead_codes": self.codebook_size - active,
        }
