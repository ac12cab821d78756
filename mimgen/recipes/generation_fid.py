"""FID in the course of a generator's training: every so many steps, of a stated number of images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.data import Dataset, StreamedDataset
from mimgen.errors import UserError
from mimgen.files import write_atomically
from mimgen.ops.distributed import world_size
from mimgen.ops.images import to_uint8
from mimgen.ops.launch import is_main_process
from mimgen.types import mix_seed

if TYPE_CHECKING:  # at run time these would import torch-fidelity's neighbours before they are needed
    from torch import Tensor

    from mimgen.evaluation.generation import Extractor, FeatureSet
    from mimgen.pipelines import Pipeline

HISTORY = "fid.jsonl"
REFERENCE = "fid-reference.safetensors"


@dataclass(frozen=True)
class FidWatch:
    """When and how a run measures its FID. It changes no weight, so it may be added to a run at any time.

    Values over few images are biased upwards (by about tr(S) / n) and compare with values of the
    same n only, which is why n stands in every line.

    Attributes:
        every: steps between two measurements, which also come at the end; 0 turns them off.
        images: generated for each, rounded up to a multiple of the processes.
        references: true images at most, spread over the training data.
        extractor: "lab-hog" (no weights) or "inception-v3-compat".
        weights: Inception's; see `mimgen.evaluation.fid`.
        seed: of the generated images, the same at every step so that curves show the model alone.
        batch_size: images at a time.
    """

    every: int = 0
    images: int = 500
    references: int = 10_000
    extractor: str = "lab-hog"
    weights: str | None = None
    seed: int = 0
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.every < 0:
            raise UserError(f"FID every {self.every} steps: give a positive number, or 0 for never")
        if min(self.images, self.references) < 2 or self.batch_size < 1:
            raise UserError("FID in training needs at least 2 images and 2 references, and a batch of at least 1")

    @classmethod
    def of_flags(cls, every: int, images: int, weights: str | None) -> FidWatch | None:
        """From a config's `fid_every`, `fid_images` and `fid_weights`; None where it is never measured."""
        extractor = "inception-v3-compat" if weights else "lab-hog"
        return cls(every, images, extractor=extractor, weights=weights) if every else None

    def start(self, dataset: Dataset | StreamedDataset, out: Path) -> Measure:
        """Ready the measurement of a run, so that what is missing is said before the training.

        Args:
            dataset: the training data.
            out: the run folder; `fid.jsonl` and the references' statistics go there.

        Raises:
            UserError: streamed data, unknown extractor, missing weights.
        """
        from mimgen.evaluation.fid import open_extractor

        if not isinstance(dataset, Dataset):
            raise UserError(f"{dataset.name} is a stream: FID in training needs data on disk; leave it out")
        return Measure(self, dataset, out, open_extractor(self.extractor, self.weights))


@dataclass(frozen=True)
class Measure:
    """A run's measurement of its FID, ready to be taken.

    Attributes:
        watch: when and how.
        dataset: the training data.
        out: the run folder.
        extractor: of the features.
    """

    watch: FidWatch
    dataset: Dataset
    out: Path
    extractor: Extractor

    def __call__(self, pipeline: Pipeline, step: int) -> dict[str, Any]:
        """Measure and add a line to `fid.jsonl`; on every process, which share the images.

        Returns:
            the line: step, fid, n, references_n, the extractor's key and warnings.
        """
        from mimgen.evaluation.generation import ImageSource, generation_scores, measure_images

        watch = self.watch
        # equal shares: parts that are split over processes must be run equally often by each
        n = -(-watch.images // world_size()) * world_size()
        indices = evenly_spaced(n, len(self.dataset))

        def read(start: int, stop: int) -> Tensor:
            return _made(pipeline, self.dataset, indices, range(start, stop), watch.seed)

        source = ImageSource("generated", f"step {step}, seed {watch.seed}", n, read)
        samples = measure_images(source, self.extractor, batch_size=watch.batch_size)
        found = generation_scores(samples, self._references(), ("fid",))
        line = {"step": step, **found.scores, "n": n, "references_n": found.protocol["references_n"],
                **self.extractor.key, "warnings": list(found.warnings)}  # fmt: skip
        if is_main_process():
            add_line(self.out / HISTORY, line)
        return line

    def _references(self) -> FeatureSet:
        """The training data's statistics: from the run folder if they fit, else made and kept there."""
        from mimgen.evaluation.generation import from_dataset, load_features, measure_images, save_features

        count = min(self.watch.references, len(self.dataset))
        source = from_dataset(self.dataset, evenly_spaced(count, len(self.dataset)))
        file = self.out / REFERENCE
        if file.is_file():
            kept = load_features(file)
            if kept.key == self.extractor.key and kept.source.get("fingerprint") == source.fingerprint:
                return kept
        made = measure_images(source, self.extractor)
        if is_main_process():
            save_features(made, file)
        return made


def evenly_spaced(count: int, size: int) -> tuple[int, ...]:
    """`count` positions of a set of `size`: spread over it, or round and round where there are not so many."""
    if count <= size:
        return tuple(index * size // count for index in range(count))
    return tuple(index % size for index in range(count))


def add_line(path: Path, line: dict[str, Any]) -> None:
    """Add a measurement, in place of those from its step on, which a run that lost steps makes again."""
    kept = []
    for text in path.read_text("utf-8").splitlines() if path.is_file() else []:
        try:
            before = json.loads(text)
        except json.JSONDecodeError:
            continue  # torn by a kill
        if before["step"] < line["step"]:
            kept.append(before)
    write_atomically(path, "".join(json.dumps(each) + "\n" for each in [*kept, line]))


def _made(pipeline: Pipeline, dataset: Dataset, indices: tuple[int, ...], rows: range, seed: int) -> Tensor:
    requests = [pipeline.request_of(dataset[indices[row]]) for row in rows]
    return to_uint8(pipeline(requests, seed=[mix_seed(seed, row) for row in rows], batch_size=len(rows)).images)
