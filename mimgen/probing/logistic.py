"""Multinomial logistic regression, full batch, by L-BFGS."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.probing.probe_split import ProbeResult, ProbeSplit, standardise

__all__ = ["fit_logistic", "logistic_probe"]

REGULARISATIONS = tuple(10.0**exponent for exponent in range(-6, 2))


def logistic_probe(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    *,
    seed: int,
    regularisations: Sequence[float] = REGULARISATIONS,
    iterations: int = 200,
) -> ProbeResult:
    """Logistic regression on standardised features, the regularisation chosen on a fifth of train.

    The settings are fitted from the strongest to the weakest, each from the last one's weights. With a
    single regularisation nothing is held out, so that a handful of images is enough.

    Args:
        train_x: [n, F] features.
        train_y: [n] integer labels, none negative.
        test_x: [m, F].
        test_y: [m]; labels that train lacks count as wrong.
        seed: determines the validation part.
        regularisations: values of lambda, see `fit_logistic`; ties go to the larger.
        iterations: most L-BFGS iterations of a fit.

    Raises:
        UserError: as `ProbeSplit.check`; a negative regularisation, or none.
    """
    if not regularisations or min(regularisations) < 0:
        raise UserError(f"logistic probe: regularisations must be 0 or more, got {regularisations}")
    # strongest first: each solution is a warm start for the next
    ordered = sorted(regularisations, reverse=True)
    several = len(ordered) > 1
    probe_split = ProbeSplit.check(train_x, train_y, test_x, test_y, minimum=5 if several else 2)
    x, points = standardise(train_x.cpu().double(), test_x.cpu().double())
    chosen, validation = ordered[0], None
    if several:
        held, kept = probe_split.holdout(seed)
        weights = None
        for regularisation in ordered:
            weights = fit_logistic(
                x[kept],
                probe_split.train[kept],
                probe_split.count,
                regularisation,
                start=weights,
                iterations=iterations,
            )
            share = float((_logits(x[held], weights).argmax(1) == probe_split.train[held]).double().mean())
            if validation is None or share > validation:
                chosen, validation = regularisation, share
    weights = fit_logistic(x, probe_split.train, probe_split.count, chosen, iterations=iterations)
    return probe_split.score(
        _logits(points, weights).argmax(1), "logistic", regularisation=chosen, validation=validation
    )


@torch.no_grad()
def fit_logistic(
    x: Tensor,
    classes: Tensor,
    count: int,
    regularisation: float,
    *,
    start: Tensor | None = None,
    iterations: int = 200,
    tolerance: float = 1e-6,
) -> Tensor:
    """Weights and biases [F + 1, C] that minimise mean cross-entropy + lambda / 2 |W|^2 (biases are free).

    scikit-learn's C is 1 / (lambda n).

    Args:
        x: [n, F] float64 (float32 stops earlier, at its rounding).
        classes: [n] int64, 0 to count - 1.
        count: number of classes C.
        regularisation: lambda.
        start: [F + 1, C] to start from; zeros by default.
        iterations: most L-BFGS iterations.
        tolerance: it ends where no derivative is larger.
    """
    weights = x.new_zeros(x.shape[1] + 1, count) if start is None else start.clone()
    weights.grad = torch.empty_like(weights)
    rows = torch.arange(len(x), device=x.device)
    solver = torch.optim.LBFGS(
        [weights], max_iter=iterations, max_eval=2 * iterations, tolerance_grad=tolerance,
        tolerance_change=tolerance**2, history_size=10, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss() -> Tensor:
        scores = _logits(x, weights).log_softmax(1)  # [n, C]
        value = -scores[rows, classes].mean() + 0.5 * regularisation * weights[:-1].square().sum()
        slope = scores.exp_()  # in place: p, and then p minus the one-hot labels
        slope[rows, classes] -= 1
        slope /= len(x)
        assert weights.grad is not None
        weights.grad[:-1] = x.T @ slope + regularisation * weights[:-1]
        weights.grad[-1] = slope.sum(0)
        return value

    solver.step(loss)  # type: ignore[arg-type]
    return weights.detach()


def _logits(x: Tensor, weights: Tensor) -> Tensor:
    return torch.addmm(weights[-1], x, weights[:-1])  # [n, C]
