"""The head of an attentive probe: pooling, BatchNorm without affine parameters, linear classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from mimgen.layers.pooling.contract import Pooling

_EPS = 1e-6


class ProbeHead(nn.Sequential):
    """logits = W BN(pool(x)) + b (efficient probing, arXiv 2506.10178; the BatchNorm is MAE's, appendix A.1).

    State-dict keys are those of the official three-module sequence: `0.*` pooling, `1.*` norm, `2.*` classifier.

    Args:
        pooling: tokens [B, N, D] to [B, F].
        classes: outputs of the classifier.
    """

    def __init__(self, pooling: Pooling, classes: int) -> None:
        norm = nn.BatchNorm1d(pooling.features, affine=False, eps=_EPS)
        super().__init__(pooling, norm, nn.Linear(pooling.features, classes))

    @property
    def pooling(self) -> Pooling:
        """The pooling in front."""
        return cast(Pooling, self[0])

    @property
    def classifier(self) -> nn.Linear:
        """The linear map to logits."""
        return cast(nn.Linear, self[2])

    @property
    def parameter_count(self) -> int:
        """Trained numbers, classifier included."""
        return sum(parameter.numel() for parameter in self.parameters())

    def predict(self, tokens: Tensor, batch_size: int = 256) -> Tensor:
        """Columns of the largest logit [n] of tokens [n, N, D], in evaluation mode, on the CPU."""
        return self._in_batches(tokens, batch_size, lambda part: self(part).argmax(1))

    def maps(self, tokens: Tensor, batch_size: int = 256) -> Tensor:
        """Maps [n, K, N] of tokens [n, N, D], each summing to 1, in evaluation mode, on the CPU."""
        return self._in_batches(tokens, batch_size, self.pooling.maps)

    @torch.no_grad()
    def _in_batches(self, tokens: Tensor, batch_size: int, see: Callable[[Tensor], Tensor]) -> Tensor:
        training, weight = self.training, self.classifier.weight
        self.eval()
        try:
            return torch.cat([see(part.to(weight.device, weight.dtype)).cpu() for part in tokens.split(batch_size)])
        finally:
            self.train(training)
