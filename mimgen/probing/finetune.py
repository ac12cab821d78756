"""Fine-tuning: the whole encoder learns a label, its first layers slowest."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.blocks.vit import DropPath
from mimgen.probing.layer_decay import block_lists, parameter_groups
from mimgen.probing.probe_split import ProbeResult, ProbeSplit
from mimgen.training.schedule import learning_rate

__all__ = ["FineTune", "fine_tune"]

HeadInput = Literal["mean", "prefix"]


@dataclass(frozen=True)
class FineTune:
    """How to fine-tune; the defaults suit small data. `FineTune.mae()` is the protocol of MAE.

    Attributes:
        epochs: passes over train.
        batch_size: images of a step.
        base_lr: peak rate of the head at batch 256; the rate grows linearly with the batch.
        layer_decay: factor of the rate from one layer to the one before it.
        weight_decay: AdamW's, on matrices only.
        warmup_epochs: linear warm-up, then a half cosine to 0.
        label_smoothing: share of the target spread over all classes.
        mixup: a of Beta(a, a), from which the share of the other image is sampled; 0 for none.
        drop_path: rate of the last block, rising linearly from 0; None leaves the encoder's own rates.
        pool: what the head reads: the mean over patches, or the first class or register token.
        clip: largest norm of the gradient; 0 for no limit.
    """

    epochs: int = 30
    batch_size: int = 64
    base_lr: float = 2e-3
    layer_decay: float = 0.75
    weight_decay: float = 0.05
    warmup_epochs: float = 3
    label_smoothing: float = 0.0
    mixup: float = 0.0
    drop_path: float | None = None
    pool: HeadInput = "mean"
    clip: float = 0.0

    @classmethod
    def mae(cls, **changes: Any) -> FineTune:
        """Table 9 of MAE (arXiv 2111.06377) for ViT-B, without its RandAugment, cutmix and crops."""
        table = {
            "epochs": 100, "batch_size": 1024, "base_lr": 5e-4, "layer_decay": 0.65, "weight_decay": 0.05,
            "warmup_epochs": 5, "label_smoothing": 0.1, "mixup": 0.8, "drop_path": 0.1,
        }  # fmt: skip
        return cls(**{**table, **changes})


class _Classifier(nn.Module):
    """Encoder, pooling, LayerNorm, linear head (MAE's fine-tuning head: `fc_norm` and `head`)."""

    def __init__(self, encoder: nn.Module, pool: HeadInput, classes: int) -> None:
        super().__init__()
        self.encoder, self.pool = encoder, pool
        width = int(encoder.dim)  # type: ignore[arg-type]
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> logits [B, classes]."""
        tokens = self.encoder(images)
        if self.pool == "mean":
            return self.head(tokens.patches.mean(1))  # [B, classes]
        if not tokens.prefix.shape[1]:
            raise UserError('this encoder has no class or register token; fine-tune with pool="mean"')
        return self.head(tokens.prefix[:, 0])


def fine_tune(
    encoder: nn.Module,
    train_images: Tensor,
    train_y: Tensor,
    test_images: Tensor,
    test_y: Tensor,
    *,
    seed: int,
    settings: FineTune | None = None,
) -> ProbeResult:
    """Train a copy of the encoder with a linear head on it, and count what it gets right on test.

    Args:
        encoder: with the encoder contract of `mimgen.probing` and blocks; it stays as it is.
        train_images: [n, 3, H, W] in [0, 1].
        train_y: [n] integer labels, none negative.
        test_images: [m, 3, H, W].
        test_y: [m]; labels that train lacks count as wrong.
        seed: of the head, the order, mixup and drop path.
        settings: see `FineTune`.

    Returns:
        The accuracy after the last epoch; `details` holds the settings, steps, trained (how many numbers
        were trained) and losses (mean training loss of each epoch).

    Raises:
        UserError: images and labels do not fit, labels are missing or all the same, settings out of
            range, an encoder without blocks or without gradient, or a loss that is not finite.
    """
    settings = settings or FineTune()
    _check_settings(settings)
    _check_data(train_images, train_y, "train")
    _check_data(test_images, test_y, "test")
    probe_split = ProbeSplit.check(train_images.flatten(1), train_y, test_images.flatten(1), test_y, minimum=2)
    device = next((part.device for part in encoder.parameters()), torch.device("cpu"))
    # drop path and initial weights sample from torch's own stream, which is put back afterwards
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = _model(encoder, settings, probe_split.count).to(device)
        losses = _train(model, train_images, probe_split.train, settings, seed, device)
    predicted = _predict(model, test_images, settings.batch_size, device)
    found = {
        "steps": settings.epochs * -(-len(train_images) // settings.batch_size),
        "trained": sum(part.numel() for part in model.parameters() if part.requires_grad),
        "losses": losses,
        **asdict(settings),
    }
    scores = probe_split.score(predicted, "fine-tuning", details=found)
    return replace(scores, features=int(model.head[0].weight.numel()))  # type: ignore[union-attr, operator]


def _model(encoder: nn.Module, settings: FineTune, classes: int) -> _Classifier:
    copied = copy.deepcopy(encoder).requires_grad_(True)
    if settings.drop_path is not None:
        _set_drop_path(copied, settings.drop_path)
    model = _Classifier(copied, settings.pool, classes)
    nn.init.trunc_normal_(model.head[1].weight, std=2e-5)  # type: ignore[arg-type]  # as MAE: logits start at 0
    nn.init.zeros_(model.head[1].bias)  # type: ignore[arg-type]
    return model


def _set_drop_path(encoder: nn.Module, rate: float) -> None:
    """Give block i of n the rate `rate` i / (n - 1)."""
    blocks = [block for name in block_lists(encoder) for block in encoder.get_submodule(name)]  # type: ignore[attr-defined]
    found = 0
    for block, own in zip(blocks, torch.linspace(0, rate, len(blocks)).tolist()):
        for part in block.modules():
            if isinstance(part, DropPath):
                part.rate, found = own, found + 1
            elif hasattr(part, "drop_prob"):  # timm's and transformers' module
                part.drop_prob, found = own, found + 1
    if not found and rate:
        raise UserError(f"{type(encoder).__name__} has no drop path in its blocks; leave drop_path out")


def _train(
    model: _Classifier, images: Tensor, classes: Tensor, settings: FineTune, seed: int, device: torch.device
) -> list[float]:
    groups = parameter_groups(
        model.encoder, model.head, decay=settings.layer_decay, weight_decay=settings.weight_decay
    )
    optimizer = torch.optim.AdamW(groups, lr=settings.base_lr)
    peak = settings.base_lr * settings.batch_size / 256  # linear scaling rule, as in MAE
    count = int(classes.max()) + 1
    generator, numbers = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    per_epoch = -(-len(images) // settings.batch_size)
    warmup, step = round(settings.warmup_epochs * per_epoch), 0
    losses = []
    model.train()
    for _ in range(settings.epochs):
        total = 0.0
        for rows in torch.randperm(len(images), generator=generator).split(settings.batch_size):
            rate = learning_rate(step, peak=peak, steps=settings.epochs * per_epoch, warmup=warmup)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"]
            batch = images[rows].to(device).float()
            targets = F.one_hot(classes[rows].to(device), count).float()  # [b, classes]
            if settings.mixup:
                batch, targets = _mixed(batch, targets, float(numbers.beta(settings.mixup, settings.mixup)))
            total += _step(model, optimizer, batch, targets, settings) * len(rows)
            step += 1
        losses.append(total / len(images))
    return losses


def _step(
    model: _Classifier, optimizer: torch.optim.Optimizer, batch: Tensor, targets: Tensor, settings: FineTune
) -> float:
    """One step of the optimiser; the loss before it."""
    loss = F.cross_entropy(model(batch), targets, label_smoothing=settings.label_smoothing)
    if not torch.isfinite(loss):
        raise UserError("fine-tuning: the loss is not finite; use a smaller base_lr or a limit for `clip`")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if all(part.grad is None for part in model.encoder.parameters()):
        raise UserError(
            f"{type(model.encoder).__name__} runs without gradient, so it cannot be fine-tuned; probe its features"
        )
    if settings.clip:
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
    optimizer.step()
    return float(loss.detach())


def _mixed(batch: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Each image with the one at its place from the end (mixup, arXiv 1710.09412, equations 1 and 2)."""
    return torch.lerp(batch.flip(0), batch, share), torch.lerp(targets.flip(0), targets, share)


@torch.no_grad()
def _predict(model: _Classifier, images: Tensor, batch_size: int, device: torch.device) -> Tensor:
    model.eval()
    return torch.cat([model(part.to(device).float()).argmax(1).cpu() for part in images.split(batch_size)])


def _check_settings(settings: FineTune) -> None:
    if settings.pool not in get_args(HeadInput):
        raise UserError(f"pool={settings.pool!r} is unknown; choose from {', '.join(get_args(HeadInput))}")
    if settings.epochs < 1 or settings.batch_size < 1 or settings.base_lr <= 0:
        raise UserError("fine-tuning wants at least 1 epoch, a batch of at least 1 and a positive base_lr")
    if not 0 <= settings.label_smoothing < 1 or settings.mixup < 0:
        raise UserError("label_smoothing lies in [0, 1) and mixup is not negative")


def _check_data(images: Tensor, labels: Tensor, what: str) -> None:
    if images.dim() != 4 or labels.dim() != 1 or len(images) != len(labels) or not len(images):
        raise UserError(
            f"fine-tuning: {what} wants images [n, 3, H, W] and labels [n], at least one, "
            f"got {list(images.shape)} and {list(labels.shape)}"
        )
    if not all(bool(torch.isfinite(part).all()) for part in images.split(256)):
        raise UserError(f"fine-tuning: some {what} images hold NaN or infinite values; leave them out")
