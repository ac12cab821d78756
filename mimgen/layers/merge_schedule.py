"""How many tokens each layer of a merging network removes."""

from __future__ import annotations

from collections.abc import Sequence

from mimgen.errors import UserError

MergeSchedule = int | tuple[int, float] | Sequence[int]


def max_mergeable(tokens: int, protected: int = 1) -> int:
    """The most tokens that one matching can remove: half of those not protected."""
    return max(0, (tokens - protected) // 2)


def check_merge_count(tokens: int, remove: int, protected: int = 1) -> None:
    """Raise a `UserError` unless one matching can remove `remove` of `tokens` tokens."""
    maximum = max_mergeable(tokens, protected)
    if not 0 <= remove <= maximum:
        raise UserError(
            f"cannot merge away {remove} of {tokens} tokens ({protected} protected) in one layer: "
            f"a layer removes 0 to {maximum}; spread the removal over more layers or keep more tokens"
        )


def merge_schedule(layers: int, wanted: MergeSchedule) -> tuple[int, ...]:
    """Tokens to remove in each layer, as asked; whether the layers can do it is not checked.

    Args:
        layers: number of layers.
        wanted: a number for all layers; a list of numbers (missing ones are 0); or (number,
            inflection), where the mean is the number and inflection -1 to 1 tilts it linearly from
            (1 - inflection) times it in the first layer to (1 + inflection) times in the last.

    Raises:
        UserError: negative numbers, or a list longer than the network.
    """
    if isinstance(wanted, int):
        wanted = (wanted,) * layers
    if is_tilted(wanted):
        return _tilted(layers, int(wanted[0]), float(wanted[1]))
    if len(wanted) > layers:
        raise UserError(f"{len(wanted)} removals for {layers} layers: give at most one per layer")
    counts = tuple(int(count) for count in wanted) + (0,) * (layers - len(wanted))
    if any(count < 0 for count in counts):
        raise UserError(f"a layer cannot remove a negative number of tokens: {counts}")
    return counts


def is_tilted(wanted: Sequence[float]) -> bool:
    """Whether this is (number, inflection) and not one number per layer: an inflection is a float."""
    return len(wanted) == 2 and isinstance(wanted[1], float)


def _tilted(layers: int, mean: int, inflection: float) -> tuple[int, ...]:
    if mean < 0 or not -1 <= inflection <= 1:
        raise UserError(f"a tilted removal is (number >= 0, inflection in -1..1), got ({mean}, {inflection})")
    first = int(mean * (1.0 - inflection))
    step = (2 * mean - 2 * first) / (layers - 1) if layers > 1 else 0.0
    return tuple(int(first + step * layer) for layer in range(layers))


def possible(counts: Sequence[int], tokens: int, protected: int = 1) -> tuple[int, ...]:
    """The same counts, each cut to what its layer can remove (what the official code does).

    Args:
        counts: tokens to remove in each layer.
        tokens: number before the first layer, protected ones included.
        protected: leading tokens that never merge.
    """
    done = []
    for count in counts:
        done.append(min(count, max_mergeable(tokens, protected)))
        tokens -= done[-1]
    return tuple(done)


def merge_schedule_to_keep(
    keep: int | float, tokens: int, layers: int, *, protected: int = 1, inflection: float = 0.0
) -> tuple[int, ...]:
    """The merge schedule after which exactly `keep` unprotected tokens are left.

    The tilted plan whose sum is nearest; the rest goes to the first layer for a falling plan (inflection
    below 0), else to the last, and on to other layers where one cannot take it.

    Args:
        keep: number of unprotected tokens to keep, or a float ratio in (0, 1].
        tokens: number of unprotected tokens before the first layer.
        layers: number of layers.
        protected: leading tokens that never merge; they are not counted in `keep`.
        inflection: see `merge_schedule`.

    Raises:
        UserError: more tokens wanted than there are, none, or fewer than halving in each layer leaves.
    """
    keep = round(keep * tokens) if isinstance(keep, float) else keep
    if not 1 <= keep <= tokens:
        raise UserError(f"cannot keep {keep} of {tokens} tokens: give a number in 1..{tokens} or a ratio in (0, 1]")
    fewest = tokens - sum(possible((tokens,) * layers, tokens + protected, protected))
    if keep < fewest:
        raise UserError(
            f"{layers} layers can merge {tokens} tokens to {fewest} at best, not to {keep}: "
            "a layer at most halves them; keep more tokens or use more layers"
        )
    total = tokens - keep
    plans = (_tilted(layers, mean, inflection) for mean in range(total // layers + 3))
    counts = list(min(plans, key=lambda plan: abs(total - sum(plan))))
    end = 0 if inflection < 0 else layers - 1
    counts[end] = max(0, counts[end] + total - sum(counts))
    return _settled(counts, tokens + protected, protected, total)


def _settled(counts: Sequence[int], tokens: int, protected: int, total: int) -> tuple[int, ...]:
    """Cut each layer to what it can remove; where that misses the total, shift one token at a time.

    Later layers are asked first. A change that moves removal forward without loss is taken too: halving
    early leaves the later layers less to do, so that the total is always reached.
    """
    plan = possible(counts, tokens, protected)
    while sum(plan) != total:
        step = 1 if sum(plan) < total else -1
        for layer in reversed(range(len(plan))):
            trial = (*plan[:layer], max(0, plan[layer] + step), *plan[layer + 1 :])
            trial = possible(trial, tokens, protected)
            if trial != plan and (step < 0 or sum(trial) >= sum(plan)):
                plan = trial
                break
    return plan
