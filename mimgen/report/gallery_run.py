"""What a pretraining run hides, tells and looks at, for `mimgen gallery RUN`."""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimgen.analysis import has_attention, looked_at, overlay, resting
from mimgen.analysis.encoder import level_grid
from mimgen.analysis.mask_pictures import masked, pixels_told, reconstructed
from mimgen.cli import configs
from mimgen.cli.options import parse
from mimgen.errors import UserError
from mimgen.methods import MaskedModelling
from mimgen.methods.a2mim.objective import PixelsAndFrequencies
from mimgen.methods.attmask.masking import class_attention
from mimgen.methods.hpm.objective import HardPatches
from mimgen.recipes import Pretrain
from mimgen.report.page import Gallery, Item
from mimgen.targets import PixelTarget
from mimgen.training import load_ema
from mimgen.types import Draws, Mask

__all__ = ["Finished", "attention_maps", "gallery", "mask_of", "open_run", "told"]

NOT_PIXELS = "it tells no pixels of a single picture, so only masks and attention are shown"


@dataclass(frozen=True)
class Finished:
    """A run's objective with averaged weights, in evaluation mode.

    Attributes:
        run: the config that made it.
        objective: with the weights of the newest checkpoint.
        step: that of the checkpoint.
    """

    run: Pretrain
    objective: nn.Module
    step: int


def open_run(folder: Path) -> Finished:
    """Rebuild what `mimgen train` trained in `folder`, by the command that it keeps there.

    Raises:
        UserError: no run, one of another kind, or one without a checkpoint.
    """
    told = folder / "command.json"
    words = shlex.split(json.loads(told.read_text("utf-8")).get("command", "")) if told.is_file() else []
    if words[:2] != ["mimgen", "train"] or len(words) < 3:
        raise UserError(f"{folder} holds no training run; pass the --out folder of `mimgen train`, or the word masks")
    name, flags = words[2], words[3:]
    function = configs.experiment(name)
    kind = configs.arguments_of(function)
    options: Any = parse(kind, flags, f"mimgen train {name}")
    values = {field.name: getattr(options, field.name) for field in fields(kind) if field.name != "out"}
    run = function(**values)
    if not isinstance(run, Pretrain):
        raise UserError(f"{folder} is a run of {name}, which pretrains no encoder: look at its samples/ instead")
    objective = run.build()
    step = load_ema(folder, objective)
    return Finished(run, objective.eval(), step)


@torch.no_grad()
def gallery(finished: Finished, images: Tensor, captions: Sequence[str], seed: int = 0) -> Gallery:
    """Each of the pictures [B, 3, H, W] in [0, 1] beside its mask, what is told of it, and where the encoder looks."""
    objective: Any = finished.objective
    mask = mask_of(objective, images, Draws([seed + row for row in range(len(images))]))
    columns = {"picture": images}
    notes = []
    if mask is None:
        notes.append("its masks cannot be drawn for single pictures")
    else:
        patch = _side_of(mask, images)
        columns["masked"] = masked(images, mask, patch)
        drawn = told(objective, images, mask)
        if drawn is None:
            notes.append(NOT_PIXELS)
        else:
            columns |= {"reconstruction": reconstructed(images, drawn, mask, patch), "all it tells": drawn}
    looks = attention_maps(objective.encoder, images)
    if looks is None:
        notes.append("its encoder shows no attention")
    else:
        columns["attention"] = looks
    items = [
        Item({name: each[row] for name, each in columns.items()}, caption or f"picture {row}")
        for row, caption in enumerate(captions)
    ]
    return Gallery(f"{finished.run.name}, step {finished.step}", _reading(objective, columns, notes), items,
                   width=150 * len(columns))  # fmt: skip


def _reading(objective: Any, columns: dict[str, Tensor], notes: list[str]) -> str:
    said = ["Grey: hidden; nearly black: hidden and not scored."] if "masked" in columns else []
    if "reconstruction" in columns:
        said.append("Reconstruction: visible patches are pasted; all it tells: they are not.")
        if getattr(getattr(objective, "target", None), "normalise", False):
            said.append("The target is normalised by patch: mean and variance are those of the true patch.")
    if "attention" in columns:
        said.append("Attention: bright is what the class token, or without one all patches, look at in the last block.")
    return " ".join([*said, *(f"Note: {note}." for note in notes)])


def mask_of(objective: Any, images: Tensor, draws: Draws) -> Mask | None:
    """The objective's mask of pictures; of two views the first; None where it wants more than pictures."""
    if hasattr(objective, "mask") and [*inspect.signature(objective.mask).parameters] == ["images", "draws"]:
        made: Mask = objective.mask(images, draws)
        return made
    masking: Any = getattr(objective, "masking", None)
    encoder: Any = objective.encoder
    names = set(inspect.signature(masking).parameters) if callable(masking) else set()
    target: Any = getattr(objective, "target", None)
    own: int = encoder.mask_patch if hasattr(encoder, "mask_patch") else encoder.patch
    patch: int = target.patch if hasattr(target, "patch") else own
    grid = (images.shape[-2] // patch, images.shape[-1] // patch)
    if names == {"grid", "draws"}:
        found = masking(grid, draws)
    elif names == {"grid", "draws", "guide"} and has_attention(encoder) and bool(getattr(encoder, "prefix", 0)):
        # the kept encoder stands for the teacher, which it is or which it resembles
        found = masking(grid, draws, class_attention(encoder(images, attention=(encoder.depth - 1,)).attention[0]))
    else:
        return None
    return found[0] if isinstance(found, tuple) else found


def told(objective: Any, images: Tensor, mask: Mask) -> Tensor | None:
    """What an objective tells of pictures [B, 3, H, W], as pictures in [0, 1]; None where it tells no pixels."""
    if isinstance(objective, PixelsAndFrequencies):
        drawn = objective.draw(objective.shown(images, mask), mask)
        return (drawn * objective.encoder.std + objective.encoder.mean).clamp(0, 1)  # type: ignore[operator]
    target = getattr(objective, "target", None)
    if not isinstance(target, PixelTarget):
        return None
    if isinstance(objective, HardPatches):
        return pixels_told(target, objective.student(images, mask).patches, images)
    if isinstance(objective, MaskedModelling):
        return pixels_told(target, objective.predict(images, mask), images)
    decoder = getattr(objective, "decoder", None)
    if decoder is None or [*inspect.signature(decoder.forward).parameters] != ["tokens", "mask"]:
        return None
    predicted = decoder(objective.encoder(images, mask), mask)
    whole = isinstance(predicted, Tensor) and predicted.shape == (*mask.hidden.shape, target.dim)
    return pixels_told(target, predicted, images) if whole else None


def attention_maps(encoder: Any, images: Tensor) -> Tensor | None:
    """Where the last block looks in intact pictures, as heat over them [B, 3, H, W]; None where it has no maps."""
    if not has_attention(encoder):
        return None
    with resting(encoder):
        tokens = encoder(images, attention=(encoder.depth - 1,))
    if not tokens.attention:
        return None
    maps, prefix = tokens.attention[0].mean(1), tokens.prefix.shape[1]
    grid = level_grid(maps.shape[-1] - prefix, tokens.grid)
    if grid is None:
        return None
    pairs = zip(images, maps, strict=True)
    return torch.stack([overlay(image, looked_at(each, prefix), grid) for image, each in pairs])


def _side_of(mask: Mask, images: Tensor) -> int:
    """Side in pixels of the patches of a mask."""
    return round((images.shape[-2] * images.shape[-1] / mask.hidden.shape[1]) ** 0.5)
