"""Attentive probe: how much of a label can be read off all tokens of a frozen encoder by a learnt pooling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.layers.pooling import Pooling, ProbeHead, pooling_named
from mimgen.probing.probe_split import ProbeResult, ProbeSplit
from mimgen.probing.stacked import HeadStack, Optimiser
from mimgen.training.schedule import learning_rate

_VALIDATION = 0.2


@dataclass(frozen=True)
class AttentiveTraining:
    """How a probe is trained.

    Attributes:
        rates: peak learning rates to choose from.
        decays: weight decays to choose from; every pair of a rate and a decay is tried.
        steps: steps of the whole training.
        batch_size: images per step; at most all of train.
        warmup: steps of linear warm-up, after which the rate falls to 0 as a half cosine.
        optimiser: "adam" or "lars".
    """

    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    decays: tuple[float, ...] = (0.0,)
    steps: int = 400
    batch_size: int = 256
    warmup: int = 40
    optimiser: Optimiser = "adam"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 2 or not 0 <= self.warmup <= self.steps:
            raise UserError(
                f"steps={self.steps}, batch_size={self.batch_size}, warmup={self.warmup}: at least 1 step, 2 "
                "images per step (BatchNorm), and a warm-up no longer than the training"
            )

    @classmethod
    def official(cls, images: int, batch_size: int = 4096) -> AttentiveTraining:
        """The protocol of arXiv 2506.10178: LARS at 0.1 x batch / 256, 90 epochs, 10 of them warm-up, no decay.

        Args:
            images: n of train, which sets the steps of an epoch.
            batch_size: images per step.
        """
        epoch = max(1, images // batch_size)
        rate = 0.1 * batch_size / 256
        return cls((rate,), (0.0,), steps=90 * epoch, batch_size=batch_size, warmup=10 * epoch, optimiser="lars")


@dataclass(frozen=True)
class AttentiveProbe:
    """A trained attentive probe and what it scored.

    Attributes:
        result: accuracies; `details` hold the settings, the accuracy of each of them on the held-out part of
            train, and the trained parameters.
        head: the trained head on the CPU, in evaluation mode; `head.maps(tokens)` tells where it looks.
        labels: [C] int64, the label of each column of its logits.
    """

    result: ProbeResult
    head: ProbeHead
    labels: Tensor

    def predict(self, tokens: Tensor) -> Tensor:
        """Labels [n] of tokens [n, N, D]."""
        return self.labels[self.head.predict(tokens)]


def attentive_probe(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    *,
    seed: int,
    pooling: str | Callable[[], Pooling] = "efficient",
    grid: tuple[int, int] | None = None,
    training: AttentiveTraining = AttentiveTraining(),
    device: torch.device | str = "cpu",
) -> AttentiveProbe:
    """Train a pooling, a BatchNorm without affine parameters and a linear classifier on cached tokens.

    Where `training` names several settings, all are trained at once on the same batches of four fifths of
    train; the best on the last fifth (ties: the smaller rate, then the larger decay) is trained again on all
    of train. Nothing is chosen by the test images.

    Args:
        train_x: [n, N, D] tokens, a memory map if you like; the class token in front where it is to be read.
        train_y: [n] integer labels, none negative.
        test_x: [m, N, D].
        test_y: [m]; labels that train lacks count as wrong.
        seed: determines the first weights, the held-out part and the batches.
        pooling: a name of `POOLING_NAMES` with its defaults, or a function that builds one (called under `seed`).
        grid: rows and columns of the patch tokens; needed by name for what is not a square grid with at most
            one class token.
        training: rates, steps and the like.
        device: where the probe is trained.

    Raises:
        UserError: shapes do not fit, tokens are not finite, labels are missing, train holds one class or fewer
            than 5 images (2 with a single setting), the pooling is unknown or does not fit the tokens, or
            training diverged.
    """
    # the first of equals is chosen: the smallest rate, and of that the largest decay
    settings = sorted(product(training.rates, training.decays), key=lambda pair: (pair[0], -pair[1]))
    minimum = 5 if len(settings) > 1 else 2  # a fifth of train chooses; BatchNorm wants two images
    probe_split = ProbeSplit.check(train_x, train_y, test_x, test_y, tokens=True, minimum=minimum)

    def fresh() -> ProbeHead:
        return _head(pooling, train_x, grid, probe_split.count, seed).to(device)

    scores: list[float] = []
    if len(settings) > 1:
        held, kept = probe_split.holdout(seed, _VALIDATION)
        stack = _trained(fresh(), train_x, probe_split.train, kept, settings, training, seed)
        scores = _scores(stack, train_x, probe_split.train, held)
    chosen = settings[scores.index(max(scores))] if scores else settings[0]
    everything = torch.arange(len(train_x))
    head = fresh()
    _trained(head, train_x, probe_split.train, everything, [chosen], training, seed).copy_into(0, head)
    _check_finite(head, chosen[0])
    head = head.cpu().eval()
    result = probe_split.score(
        head.predict(test_x),
        pooling if isinstance(pooling, str) else type(head.pooling).__name__,
        regularisation=chosen[1],
        validation=max(scores) if scores else None,
        details=_details(head, training, chosen, settings, scores),
    )
    return AttentiveProbe(result, head, probe_split.labels)


def _head(
    pooling: str | Callable[[], Pooling], x: Tensor, grid: tuple[int, int] | None, classes: int, seed: int
) -> ProbeHead:
    """A head with the first weights of `seed`, the pooling's sampled first."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if not callable(pooling):
            rows, columns = grid or (int(x.shape[1] ** 0.5),) * 2
            prefix = x.shape[1] - rows * columns
            if prefix < 0 or (grid is None and prefix > 1):
                raise UserError(
                    f"{x.shape[1]} tokens do not fit {'a square grid' if grid is None else f'the grid {grid}'}: "
                    "pass grid=(rows, columns) of the patch tokens"
                )
            return ProbeHead(pooling_named(pooling, x.shape[2], (rows, columns), prefix), classes)
        return ProbeHead(pooling(), classes)


def _trained(
    head: ProbeHead,
    x: Tensor,
    classes: Tensor,
    rows: Tensor,
    settings: list[tuple[float, float]],
    training: AttentiveTraining,
    seed: int,
) -> HeadStack:
    """Copies of `head`, one for each (rate, decay), trained on `rows` of train."""
    stack = HeadStack(head, [rate for rate, _ in settings], [decay for _, decay in settings], training.optimiser)
    for step, batch in enumerate(_batches(len(rows), training, seed)):
        picked = rows[batch].sort().values  # in order of the file, for memory maps
        scale = learning_rate(step, peak=1.0, steps=training.steps, warmup=training.warmup)
        stack.step(_read(x, picked, head), classes[picked].to(head.classifier.weight.device), scale)
    return stack


def _batches(n: int, training: AttentiveTraining, seed: int) -> Iterator[Tensor]:
    """`steps` batches of positions below n: random orders of all, without a shorter last batch."""
    generator = torch.Generator().manual_seed(seed)
    size = min(training.batch_size, n)
    done = 0
    while done < training.steps:
        order = torch.randperm(n, generator=generator)
        for batch in order[: n // size * size].split(size)[: training.steps - done]:
            yield batch
            done += 1


def _scores(stack: HeadStack, x: Tensor, classes: Tensor, rows: Tensor) -> list[float]:
    """Accuracy of each copy on `rows` of train."""
    rows = rows.sort().values
    predicted = torch.cat([stack.predict(_read(x, part, stack.head)).cpu() for part in rows.split(256)], 1)
    return (predicted == classes[rows]).double().mean(1).tolist()  # over images; predicted is [copies, rows]


def _read(x: Tensor, rows: Tensor, head: torch.nn.Module) -> Tensor:
    weight = next(head.parameters())
    return x[rows].to(weight.device, weight.dtype)


def _check_finite(head: ProbeHead, rate: float) -> None:
    if not all(bool(torch.isfinite(value).all()) for value in head.state_dict().values()):
        raise UserError(f"probe: training diverged at learning rate {rate:g}; pass smaller rates")


def _details(
    head: ProbeHead,
    training: AttentiveTraining,
    chosen: tuple[float, float],
    settings: list[tuple[float, float]],
    scores: list[float],
) -> dict[str, Any]:
    return {
        **asdict(training),
        "rate": chosen[0],
        "decay": chosen[1],
        "parameters": head.parameter_count,
        "pooling_parameters": sum(parameter.numel() for parameter in head.pooling.parameters()),
        "tried": [
            {"rate": rate, "decay": decay, "validation": score}
            for (rate, decay), score in zip(settings, scores, strict=False)
        ],
    }
