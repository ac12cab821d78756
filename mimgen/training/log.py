"""Where a run writes what it does: log.jsonl, a tracker, a progress bar, image grids."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.files import write_atomically
from mimgen.ops.images import save_png
from mimgen.ops.tiling import tile
from mimgen.training.settings import Settings


class Meter:
    """Means of named scalars over the steps since the last log line.

    Its sums go into the checkpoint, so that a resumed run logs the same means.
    """

    def __init__(self) -> None:
        self.sums: dict[str, list[float]] = {}
        self.seconds = 0.0
        self.images = 0

    def add(self, scalars: Mapping[str, float]) -> None:
        """Take in one step."""
        for name, value in scalars.items():
            total, count = self.sums.get(name, [0.0, 0])
            self.sums[name] = [total + value, count + 1]

    def add_timing(self, images: int, seconds: float) -> None:
        """Note the time that a step took, without saving and sampling."""
        self.images += images
        self.seconds += seconds

    def pop_means(self) -> dict[str, float]:
        """The means, with images_per_s; starts anew."""
        means = {name: total / count for name, (total, count) in self.sums.items()}
        means["images_per_s"] = round(self.images / max(self.seconds, 1e-9), 2)
        self.sums, self.images, self.seconds = {}, 0, 0.0
        return means


class Tracker(Protocol):
    """What TensorBoard and Weights & Biases have in common."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...

    def image(self, step: int, name: str, image: Tensor) -> None: ...

    def close(self) -> None: ...


class _TensorBoard:
    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "tracker=tensorboard needs `pip install tensorboard`; or use tracker=none"
            ) from error
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def image(self, step: int, name: str, image: Tensor) -> None:
        self._writer.add_image(name, image, step)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise UserError("tracker=wandb needs `pip install wandb`; or use tracker=tensorboard") from error
        self._wandb = wandb
        marker = folder / "wandb_id"
        if not marker.exists():
            marker.write_text(wandb.util.generate_id())
        self._run = wandb.init(
            project="mimgen",
            name=folder.name,
            dir=str(folder),
            id=marker.read_text(),
            resume="allow",
            config=dict(settings),
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def image(self, step: int, name: str, image: Tensor) -> None:
        self._run.log({name: self._wandb.Image(image)}, step=step)

    def close(self) -> None:
        self._run.finish()


class Log:
    """The outputs of a run; on ranks other than 0 it only remembers.

    Args:
        folder: the run folder.
        step: the step the run continues from; later lines of a killed run are dropped.
        settings: steps, batch size and tracker.
        shown: settings as trackers show them.
        main: whether this process writes.
    """

    def __init__(
        self, folder: Path, step: int, settings: Settings, shown: Mapping[str, Any], main: bool
    ) -> None:
        self.records: list[dict[str, Any]] = []
        self._folder, self._main, self._batch_size = folder, main, settings.batch_size
        self._tracker: Tracker | None = None
        self._bar: Any = None
        if main:
            self.records = trim(folder / "log.jsonl", step)
            self._tracker = _open_tracker(settings.tracker, folder, step, shown)
            self._bar = _bar(step, settings.steps)

    def print(self, text: str) -> None:
        """One line to the terminal, above the progress bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)

    def update(self, loss: float, images_per_s: float) -> None:
        """Move the progress bar by one step; it works out the time left itself."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4f}, {images_per_s:.1f} images/s", refresh=False)
            self._bar.update(1)

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a line to log.jsonl and to the tracker."""
        self.records.append(dict(record))
        if not self._main:
            return
        with open(self._folder / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        if self._tracker is not None:
            numbers = {name: value for name, value in record.items() if name != "step"}
            self._tracker.scalars(int(record["step"]), numbers)
        if self._bar is not None and self._bar.disable:
            self._report(record)

    def grids(self, step: int, grids: Mapping[str, Tensor]) -> None:
        """Save named [n, 3, H, W] images in [0, 1] as one PNG each under samples/."""
        if not self._main:
            return
        folder = self._folder / "samples"
        folder.mkdir(exist_ok=True)
        for name, images in grids.items():
            image = tile(images.detach().float().cpu())
            save_png(image, folder / f"step-{step:08d}-{name}.png")
            if self._tracker is not None:
                self._tracker.image(step, name, image)

    def close(self) -> None:
        """Flush and end tracker and bar."""
        if self._tracker is not None:
            self._tracker.close()
        if self._bar is not None:
            self._bar.close()

    def _report(self, record: Mapping[str, Any]) -> None:
        rate = max(float(record["images_per_s"]), 1e-9)
        left = (self._bar.total - int(record["step"])) * self._batch_size / rate
        self.print(
            f"step {record['step']}/{self._bar.total}  loss {record['loss']:.4f}  "
            f"{rate:.1f} images/s  ETA {left / 60:.1f} min"
        )


def trim(path: Path, step: int) -> list[dict[str, Any]]:
    """Cut a log back to the lines up to `step` and return them.

    What a killed process logged after its last checkpoint is made again, and its last line may
    be torn.
    """
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record["step"] <= step:
            records.append(record)
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in records))
    return records


def peak_memory_mib(device: torch.device) -> float:
    """The most memory used so far: the card's for CUDA, else resident memory of this process."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def _open_tracker(name: str, folder: Path, step: int, settings: Mapping[str, Any]) -> Tracker | None:
    if name == "tensorboard":
        return _TensorBoard(folder, step)
    return _Wandb(folder, settings) if name == "wandb" else None


def _bar(step: int, steps: int) -> Any:
    from tqdm import tqdm

    # Without a terminal the bar is off and `write` prints a line for each record.
    return tqdm(total=steps, initial=step, unit="step", dynamic_ncols=True, disable=not sys.stderr.isatty())
