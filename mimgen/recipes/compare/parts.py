"""The usual parts of an arm: train it, probe its encoder, measure its objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from mimgen.errors import UserError
from mimgen.probing.frozen import ProbeRequest
from mimgen.probing.objective_measures import HeldOut, Measure
from mimgen.recipes.compare.budget import Budget, RunBuilder, train
from mimgen.recipes.compare.outcomes import Row
from mimgen.training import load_ema

if TYPE_CHECKING:
    from mimgen.recipes import TrainingRun

__all__ = ["MeasureObjective", "ProbeEncoder", "Train"]


@dataclass(frozen=True)
class Train:
    """The first part of an arm: train it within the budget, or leave it as initialised.

    Attributes:
        build: makes the run.
        budget: the same for all arms.
        trained: false is the untrained control: the weights are saved as they are drawn.
        fit_schedules: tell the config how many steps the budget allows, so that schedules of masks, teachers and
            discriminators end with them; otherwise they follow the config's own length.
    """

    build: RunBuilder
    budget: Budget
    trained: bool = True
    fit_schedules: bool = False

    def __call__(self, folder: Path, seed: int, rows: Mapping[str, Row]) -> Row:
        """Train in `folder`, or resume there.

        Returns:
            JSON: as of `train`; with a reference in the budget also operations (of one image) and share (of the
            operations that the reference needs for one image).
        """
        from mimgen.recipes import Build

        run = self.build(seed)
        if isinstance(run, Build):  # computed from the data, not trained; its time counts all the same
            facts = run.run(folder).losses
            return {"built": True, "pixels": run.data_config.size, **(facts[0] if facts else {})}
        allowed, cost = self._allowed(run, seed)
        if not self.trained:
            return {**_save_untrained(run, folder), **cost}
        if self.fit_schedules and allowed is not None:
            run = cast("TrainingRun", self.build(seed, max(1, allowed // run.settings.batch_size)))
        return {**train(run, folder, replace(self.budget, images=allowed)), **cost}

    def _allowed(self, run: TrainingRun, seed: int) -> tuple[int | None, Row]:
        """Training images that the budget allows this run, and what an image costs."""
        budget = self.budget
        if budget.reference is None or budget.images is None:
            return budget.images, {}
        from mimgen.recipes.flops import operations

        own, reference = operations(run), operations(budget.reference(seed))
        # at least one step, however expensive; otherwise whole images, so that the budget is never exceeded
        allowed = max(run.settings.batch_size, int(budget.images * (reference / own)))
        return allowed, {"operations": own, "share": own / reference}


@dataclass(frozen=True)
class ProbeEncoder:
    """A part that probes a frozen encoder.

    Attributes:
        compute: `mimgen.probing.frozen.probe_best_layer` or `probe_folds`.
        data: the labelled data.
        pixels: side of the images.
        probes: names of probes.
        spec: the encoder as `mimgen.probing.open.open_encoder` takes it, "{seed}" in it being the seed; by default
            what the arm has trained.
        limit: only so many images of each split.
    """

    compute: Callable[[ProbeRequest], Row]
    data: str
    pixels: int
    probes: tuple[str, ...]
    spec: str | None = None
    limit: int | None = None

    def __call__(self, folder: Path, seed: int, rows: Mapping[str, Row]) -> Row:
        """What `compute` returns."""
        spec = str(folder) if self.spec is None else self.spec.replace("{seed}", str(seed))
        # folder is OUT/runs/NAME: features of all arms share one cache
        cache = folder.parents[1] / "features"
        return self.compute(ProbeRequest(spec, self.data, self.pixels, self.probes, seed, self.limit, cache))


@dataclass(frozen=True)
class MeasureObjective:
    """A part that measures a pretraining objective, with averaged weights where it has them.

    Attributes:
        measure: what is measured.
        build: makes the run that was trained.
        trained: as of `Train`.
    """

    measure: Measure
    build: RunBuilder
    trained: bool = True

    def __call__(self, folder: Path, seed: int, rows: Mapping[str, Row]) -> Row:
        """What `measure` returns."""
        # schedules of the objective are those of the steps that it was trained for
        run: Any = self.build(seed, rows["training"]["steps"] or None)
        torch.manual_seed(seed)
        objective = run.build()
        if self.trained:
            load_ema(folder, objective)
        with torch.no_grad():
            return dict(self.measure(objective.eval(), HeldOut(run.data_config, seed)))


def _save_untrained(run: Any, folder: Path) -> Row:
    """Leave the weights as they are drawn where training would leave them."""
    torch.manual_seed(run.settings.seed)
    objective = run.build()
    for part in ("encoder", "tokenizer"):
        module = getattr(objective, part, None)
        if module is not None:
            module.save_pretrained(folder / part)
            return {"steps": 0, "images": 0, "pixels": run.data_config.size}
    raise UserError(f"{run.name} has neither an encoder nor a tokenizer that could be measured untrained")
