"""Thirty linear probes at once against thirty training runs one after another."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.probing.probe_split import standardise
from mimgen.probing.sweep import Sweep, sweep_probe

__all__ = ["bench_sweep"]

# For plain gradient steps, whose safe rates are lower than those of steps that know the covariance.
_RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
_BATCH = 256


def bench_sweep(
    images: int = 10000, features: int = 192, classes: int = 50, epochs: int = 90, seed: int = 0
) -> dict[str, Any]:
    """Time `sweep_probe` and separate runs with as many settings on the same features.

    A separate run is `nn.Linear` under SGD with Nesterov momentum and a half cosine, in batches of 256 that
    are sliced from memory, on features standardised beforehand: nothing but the training is slow about it.
    Both ways choose on the same fifth of train and train the chosen setting again on all of it. The runs are
    timed with `epochs` and with as few epochs as the sweep takes.

    Returns:
        {"settings", "epochs" of the sweep, "seconds", "accuracy"; "separate_s", "separate_accuracy" with `epochs`
        epochs; "short_s", "short_accuracy" with the sweep's; "ratio", "short_ratio"}.
    """
    train = _task(images, features, classes, seed, 1)
    test = _task(max(1000, images // 2), features, classes, seed, 2)
    sweep = Sweep()
    start = time.perf_counter()
    ours = sweep_probe(*train, *test, seed=seed, sweep=sweep)
    seconds = time.perf_counter() - start
    found: dict[str, Any] = {
        "settings": len(sweep.settings), "epochs": sweep.epochs, "seconds": seconds, "accuracy": ours.accuracy,
    }  # fmt: skip
    for name, count in (("separate", epochs), ("short", sweep.epochs)):
        start = time.perf_counter()
        found[f"{name}_accuracy"] = _separate(train, test, classes, sweep.regularisations, count, seed)
        found[f"{name}_s"] = time.perf_counter() - start
    return {**found, "ratio": found["separate_s"] / seconds, "short_ratio": found["short_s"] / seconds}


def _task(images: int, features: int, classes: int, seed: int, part: int) -> tuple[Tensor, Tensor]:
    """[n, F] features whose variance falls off along axes that no feature lies on, as an encoder's do; [n] labels."""
    world = torch.Generator().manual_seed(seed)
    scales = torch.arange(1, features + 1).float() ** -0.7
    centres = torch.randn(classes, features, generator=world) * scales * 0.35
    axes = torch.linalg.qr(torch.randn(features, features, generator=world)).Q
    generator = torch.Generator().manual_seed(1000 * seed + part)
    y = torch.randint(classes, (images,), generator=generator)
    return (centres[y] + torch.randn(images, features, generator=generator) * scales) @ axes, y


def _separate(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    classes: int,
    regularisations: tuple[float, ...],
    epochs: int,
    seed: int,
) -> float:
    """Test accuracy of the setting that is best on a fifth of train, one training run a setting."""
    (x, points), y = standardise(train[0], test[0]), train[1]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    held, kept = order[: len(x) // 5], order[len(x) // 5 :]
    settings = [(rate, decay) for rate in _RATES for decay in regularisations]
    shares = []
    for setting in settings:
        model = _run(x[kept], y[kept], classes, setting, epochs, seed)
        shares.append(_accuracy(model, x[held], y[held]))
    best = settings[max(range(len(settings)), key=lambda i: shares[i])]
    return _accuracy(_run(x, y, classes, best, epochs, seed), points, test[1])


def _run(x: Tensor, y: Tensor, classes: int, setting: tuple[float, float], epochs: int, seed: int) -> nn.Linear:
    rate, decay = setting
    model = nn.Linear(x.shape[1], classes)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=decay)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        for rows in torch.randperm(len(x), generator=generator).split(_BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model


@torch.no_grad()
def _accuracy(model: nn.Linear, x: Tensor, y: Tensor) -> float:
    return float((model(x).argmax(1) == y).double().mean())
