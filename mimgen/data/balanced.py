"""Class-balanced sampling: a data set whose images are repeated by the size of their class."""

from __future__ import annotations

from collections import Counter

from mimgen.data.contract import Dataset
from mimgen.data.subset import Subset
from mimgen.errors import UserError

__all__ = ["balanced"]


def balanced(dataset: Dataset, label: str, maximum: int = 8) -> Subset:
    """An image of a class with c images occurs round(sqrt(c_max / c)) times, at most `maximum` times.

    The square root lies halfway between leaving the classes as they are and showing all of them
    equally often (Mahajan et al., arXiv 1805.00932, section 2.2).

    Args:
        dataset: what is sampled.
        label: name of the label set that holds the classes.
        maximum: highest number of repetitions.

    Raises:
        UserError: the data set has no such labels.
    """
    if label not in dataset.labels:
        known = ", ".join(dataset.labels) or "none at all"
        raise UserError(f"{dataset.name} has no labels {label!r} to balance by (it has: {known})")
    classes = dataset.labels[label].tolist()
    counts = Counter(classes)
    largest = max(counts.values())
    times = {name: min(maximum, round((largest / count) ** 0.5)) for name, count in counts.items()}
    return Subset(dataset, tuple(index for index, name in enumerate(classes) for _ in range(times[name])))
