"""The linear probe of MAE, step by step, on features that were extracted once."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.probing.probe_split import ProbeResult, ProbeSplit
from mimgen.training.lars import Lars

__all__ = ["MaeProtocol", "mae_probe"]

# Rows put through BatchNorm and the head at a time when testing.
_ROWS = 16384


@dataclass(frozen=True)
class MaeProtocol:
    """Settings of the linear probe of He et al. 2022, appendix A.1, table 10.

    Attributes:
        base_rate: learning rate for 256 images per step; the rate is base_rate * batch / 256.
        batch: images per step; all of train where it holds fewer.
        epochs: passes over train.
        warmup: epochs in which the rate rises linearly from 0.
        weight_decay: none.
        momentum: of LARS.
        trust: of LARS.
        standard: deviation of the head's first weights.
    """

    base_rate: float = 0.1
    batch: int = 16384
    epochs: int = 90
    warmup: int = 10
    weight_decay: float = 0.0
    momentum: float = 0.9
    trust: float = 0.001
    standard: float = 0.01

    def __post_init__(self) -> None:
        if self.batch < 2 or self.epochs < 1 or not 0 <= self.warmup <= self.epochs:
            raise UserError(
                f"MAE probe: batch must be at least 2, epochs at least 1 and warm-up no longer than the run, got "
                f"batch {self.batch}, epochs {self.epochs}, warm-up {self.warmup}"
            )

    @classmethod
    def small(cls, images: int) -> MaeProtocol:
        """The protocol for data smaller than ImageNet: its peak rate, and where it can its 78 steps per epoch.

        LARS moves weights by a share of their length that is proportional to the rate, and the rate to the
        batch: with a few thousand images in one batch an epoch the head would hardly leave its start.

        Args:
            images: n of train.
        """
        official = cls()
        batch = min(images, official.batch, max(64, images // 78))
        return cls(base_rate=official.rate(official.warmup, official.batch) * 256 / batch, batch=batch)

    def rate(self, epoch: float, batch: int) -> float:
        """Learning rate at a fractional epoch: linear from 0, then half a cosine down to 0."""
        peak = self.base_rate * batch / 256
        if epoch < self.warmup:
            return peak * epoch / self.warmup
        return peak * 0.5 * (1 + math.cos(math.pi * (epoch - self.warmup) / max(1, self.epochs - self.warmup)))


def mae_probe(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    *,
    seed: int,
    protocol: MaeProtocol | None = None,
    views: Sequence[Tensor] = (),
) -> ProbeResult:
    """BatchNorm without affine part (eps 1e-6), then a linear head, trained by LARS on cross-entropy.

    The paper feeds the class token of a fresh random crop of every image; what is fed here is the
    caller's choice (and so is `MaeProtocol.small` for small data): the class token (pooling "prefix") or the
    mean over patches, and in `views` features of further crops. The figure is that of the last epoch, never
    of the best on test.

    Args:
        train_x: [n, F] features, neither centred nor scaled.
        train_y: [n] integer labels, none negative.
        test_x: [m, F].
        test_y: [m]; labels that train lacks count as wrong.
        seed: of the head's first weights and of the order of the images.
        protocol: MAE's own by default.
        views: each [n, F], of other crops and flips of the same training images; the epochs take turns.

    Raises:
        UserError: as `ProbeSplit.check`, a view whose shape is not that of `train_x`, or a loss that is not finite.
    """
    protocol = protocol or MaeProtocol()
    probe_split = ProbeSplit.check(train_x, train_y, test_x, test_y)
    for view in views:
        if view.shape != train_x.shape or not bool(torch.isfinite(view).all()):
            raise UserError(f"MAE probe: a view must be finite and {list(train_x.shape)}, got {list(view.shape)}")
    if len(train_x) < protocol.batch:
        warnings.warn(
            f"MAE probe: {len(train_x)} training images do not fill a batch of {protocol.batch}, so the rate is "
            "lower and the steps fewer than in the paper; use MaeProtocol.small",
            stacklevel=2,
        )
    head = _head(train_x.shape[1], probe_split.count, protocol.standard, seed)
    batch = _train(head, [train_x, *views], probe_split.train, protocol, seed)
    head.eval()
    with torch.no_grad():
        predicted = torch.cat([head(rows.float()).argmax(1) for rows in test_x.cpu().split(_ROWS)])
    details = asdict(protocol) | {"batch": batch, "views": 1 + len(views)}
    return probe_split.score(predicted, "mae", details=details)


def _head(width: int, count: int, standard: float, seed: int) -> nn.Sequential:
    linear = nn.Linear(width, count)
    nn.init.trunc_normal_(linear.weight, std=standard, generator=torch.Generator().manual_seed(seed))
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.BatchNorm1d(width, affine=False, eps=1e-6), linear)


def _train(
    head: nn.Sequential, views: Sequence[Tensor], classes: Tensor, protocol: MaeProtocol, seed: int
) -> int:
    """Train `head`; the batch that was taken. A last batch that is not full is left out, as in the paper's code."""
    batch = min(protocol.batch, len(classes))
    steps = len(classes) // batch
    optimizer = Lars(
        head.parameters(), lr=0.0, weight_decay=protocol.weight_decay, momentum=protocol.momentum, trust=protocol.trust
    )
    generator = torch.Generator().manual_seed(seed)
    head.train()
    for epoch in range(protocol.epochs):
        x = views[epoch % len(views)]
        order = torch.randperm(len(classes), generator=generator)
        for step, rows in enumerate(order.split(batch)[:steps]):
            for group in optimizer.param_groups:
                group["lr"] = protocol.rate(epoch + step / steps, batch)
            loss = F.cross_entropy(head(x[rows.to(x.device)].cpu().float()), classes[rows])
            if not bool(torch.isfinite(loss)):
                raise UserError(f"MAE probe: the loss became {float(loss)} in epoch {epoch}; lower base_rate")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return batch
