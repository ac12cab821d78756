"""Every masking strategy at work on a few images, for `mimgen gallery masks`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mimgen.analysis.mask_images import centredness, edge_energy, guide_image, masked_images
from mimgen.errors import UserError
from mimgen.ops.discover import classes_below, is_masking
from mimgen.report.page import Gallery, Item
from mimgen.types import Mask, SampleRNG

__all__ = ["galleries", "mask_gallery", "strategies"]


@dataclass(frozen=True)
class Guides:
    """What informed strategies follow here, in place of what they learn in training.

    Attributes:
        edges: [B, N] energy of gradients.
        centre: [B, N] nearness to the centre.
        parts: [B, 3, N] boolean, the upper, middle and lower third.
        tokens: [B, N, D] pixels of the patches.
    """

    edges: Tensor
    centre: Tensor
    parts: Tensor
    tokens: Tensor


PACKAGES = ("mimgen.masking", "mimgen.methods", "mimgen.generators")


def strategies(grid: tuple[int, int]) -> dict[str, Any]:
    """One strategy or several settings of one for each class of masks that the package has, by what it is called.

    Numbers are as in the papers; counts are scaled to the grid.
    """
    patches = grid[0] * grid[1]
    given: dict[str, dict[str, Any]] = {
        "Random": {"": {}, "squares": {"ratio": 0.6, "unit": 2}},
        "Block": {"": {"count": round(0.4 * patches), "minimum": max(1, patches // 12)}},
        "Hard": {"": {}, "all hard": {"share": 1.0}},
        "AttentionMasking": {mode: {"mode": mode, "ratio": (0.4, 0.4), "chance": 1.0} for mode in ("high", "low")}
        | {"hints": {"mode": "hints", "ratio": (0.4, 0.4), "chance": 1.0}},
        "VariedBlock": {"": {"chance": 1.0}},
    }
    found: dict[str, Any] = {}
    for name, kind in classes_below(*PACKAGES, wanted=is_masking).items():
        if is_dataclass(kind) and "grid" in _words(kind.__call__) | {_first(kind)}:
            for setting, arguments in given.get(name, {"": {}}).items():
                found[f"{name}, {setting}" if setting else name] = kind(**arguments)
        elif _first(kind) == "tokens":
            found[name] = kind()
    return found


def _words(call: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(call).parameters)


def _first(kind: type) -> str:
    """Name of the first argument of a strategy's call, such as "grid"."""
    return [*inspect.signature(kind.__call__).parameters][1]


def guides(images: Tensor, patch: int) -> Guides:
    """Guides of images [B, 3, H, W] in [0, 1]."""
    grid = (images.shape[-2] // patch, images.shape[-1] // patch)
    thirds = torch.arange(grid[0])[:, None].expand(grid).flatten() * 3 // grid[0]
    return Guides(
        edges=edge_energy(images, patch),
        centre=centredness(grid).expand(len(images), -1),
        parts=torch.stack([thirds == third for third in range(3)]).expand(len(images), -1, -1),
        tokens=torch.nn.functional.pixel_unshuffle(images, patch).flatten(2).transpose(1, 2),
    )


def mask_gallery(strategy: Any, grid: tuple[int, int], rng: SampleRNG, given: Guides) -> list[Mask]:
    """The masks of a strategy, several where it makes several for one image.

    Args:
        strategy: one of `strategies`.
        grid: rows and columns.
        rng: one stream per image.
        given: what informed ones follow; edges where one score per patch is asked for, the centre for attention.
    """
    names = _words(type(strategy).__call__)
    more: dict[str, Any] = {}
    if "guide" in names:
        scores = given.centre if type(strategy).__name__.startswith("Attention") else given.edges
        more["guide"] = given.parts if type(strategy).__name__ == "Parts" else scores
    if "tokens" in names and "grid" in names:
        more["tokens"] = given.tokens
    made = strategy(grid if "grid" in names else grid[0] * grid[1], rng, **more)
    return [each for each in (made if isinstance(made, tuple) else (made,)) if isinstance(each, Mask)]


def galleries(images: Tensor, captions: tuple[str, ...], patch: int, seed: int = 0) -> list[Gallery]:
    """Guides of the images [B, 3, H, W], then one gallery a strategy.

    Raises:
        UserError: images that do not divide into patches.
    """
    height, width = images.shape[-2:]
    if height % patch or width % patch:
        raise UserError(f"images of {width} x {height} do not divide into patches of {patch} pixels: change --patch")
    grid, given = (height // patch, width // patch), guides(images, patch)
    followed = [
        Item({"image": image, "edges": guide_image(edges, grid, patch),
              "centre": guide_image(centre, grid, patch)}, caption)
        for image, edges, centre, caption in zip(images, given.edges, given.centre, captions, strict=True)
    ]  # fmt: skip
    text = (
        "Informed strategies follow a map of the patches. In training a teacher gives it; here the energy of "
        "gradients stands for hardness, nearness to the centre for attention, thirds of the image for parts."
    )
    found = [Gallery("Guides", text, followed, width=320)]
    for name, strategy in strategies(grid).items():
        masks = mask_gallery(strategy, grid, SampleRNG([seed + row for row in range(len(images))]), given)
        found.append(_gallery(name, strategy, masks, images, captions, patch))
    return found


def _gallery(
    name: str, strategy: Any, masks: list[Mask], images: Tensor, captions: tuple[str, ...], patch: int
) -> Gallery:
    """Each image with its masks; grey is masked, nearly black masked but not scored."""
    panels = [masked_images(images, mask, patch) for mask in masks]
    items = []
    for row, caption in enumerate(captions):
        labels = [f"view {view + 1}" for view in range(len(masks))] if len(masks) > 1 else ["masked"]
        shares = ", ".join(f"{float(mask.masked[row].float().mean()):.0%} masked" for mask in masks)
        views = {label: each[row] for label, each in zip(labels, panels, strict=True)}
        items.append(Item(views, caption, shares))
    first = (inspect.getdoc(type(strategy)) or "").splitlines()[0]
    return Gallery(name, f"{first} Here: {_settings(strategy)}.", items, width=150 * len(masks))


def _settings(strategy: Any) -> str:
    """The dataclass as text, without its name."""
    return repr(replace(strategy)).partition("(")[2].removesuffix(")")
