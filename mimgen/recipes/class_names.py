"""The classes of a label set of a run's images."""

from __future__ import annotations

from mimgen.errors import UserError
from mimgen.recipes.data_config import DataConfig

__all__ = ["class_names"]


def class_names(data_config: DataConfig, label: str | None = None) -> tuple[str, tuple[str, ...]]:
    """The name of a label set, and those of its classes in the order of their ids.

    Args:
        data_config: the images.
        label: the label set; None for the first one.

    Raises:
        UserError: the images have no such labels.
    """
    known = data_config.open().label_names
    name = label or next(iter(known), None)
    if name is None:
        raise UserError(
            f"{data_config.spec} has no labels: sort the images into a folder for each class, or pass other --data"
        )
    if name not in known:
        raise UserError(f"{data_config.spec} has no labels {name!r}, but {', '.join(known)}: pass one with --label")
    return name, tuple(known[name])
