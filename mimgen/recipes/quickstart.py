"""The quickstart's stages: from nothing to a trained generator, its scores and a report, in minutes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen import configs
from mimgen.errors import UserError
from mimgen.recipes.planning import steps_that_fit
from mimgen.report.run_folder import check_same_settings, prepare_folder

if TYPE_CHECKING:
    from mimgen.pipelines import TextToImagePipeline
    from mimgen.recipes import TrainingRun

__all__ = ["Quickstart"]

# Shares of the time; the rest is loading, sampling and measuring.
TOKENIZER, GENERATOR = 0.18, 0.66
WATCHED = 41  # prompts of the quality curve: a quarter of the held-out ones, so that watching stays cheap
WATCHES = 4  # points on it


@dataclass(frozen=True)
class _Stage:
    """A step of the quickstart: its marker file, what is said while it runs, about how long, and what it does."""

    name: str
    title: str
    minutes: float
    work: Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Quickstart:
    """Train a tokenizer and a text-to-image generator from nothing, make images, measure, report.

    Attributes:
        minutes: how long the whole may take; more minutes give better images.
        out: the folder for everything.
        data: "emoji", built in.
        size: size of the configs vqgan and meissonic that are trained.
        seed: of weights, data order and images.
    """

    minutes: float = 11.0
    out: Path = Path("runs/quickstart")
    data: str = "emoji"
    size: str = "quickstart"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.minutes <= 0:
            raise UserError(f"--minutes {self.minutes:g}: give a positive number; 11 is the default")

    def run(self, command: Sequence[str], progress: Callable[[str], None]) -> Mapping[str, Mapping[str, Any]]:
        """Do the stages that are not done yet and write the report.

        Args:
            command: the words that the user typed, for the record.
            progress: is told each stage before it begins.

        Returns:
            What each stage found, by its name.

        Raises:
            UserError: the folder holds a quickstart with other settings.
            KeyboardInterrupt: a signal stopped it; the same settings resume there.
        """
        from mimgen.report import quickstart as page

        settings = {key: value for key, value in asdict(self).items() if key != "out"}
        check_same_settings(self.out, settings, "quickstart")
        prepare_folder(self.out, command)
        stages = self._stages()
        results = {stage.name: self._do(number, stages, progress) for number, stage in enumerate(stages)}
        page.write(self.out, self.minutes, self.data, self.size, results)
        return results

    def _stages(self) -> list[_Stage]:
        rest = self.minutes * (1 - TOKENIZER - GENERATOR) / 3
        return [
            _Stage("tokenizer", "teaching the tokenizer to reconstruct from a codebook", self.minutes * TOKENIZER,
                   self._tokenizer),
            _Stage("generator", "teaching the generator to follow captions", self.minutes * GENERATOR,
                   self._generator),
            _Stage("reconstruction", "measuring the tokenizer", rest / 2, self._reconstruction),
            _Stage("composition", "making images for prompts it never saw, and scoring them", rest * 1.5,
                   self._composition),
            _Stage("probe", "probing what the generator's inside knows", rest, self._probe),
        ]  # fmt: skip

    def _do(self, number: int, stages: Sequence[_Stage], progress: Callable[[str], None]) -> dict[str, Any]:
        """Do a stage, or read what it gave when it was done before."""
        from mimgen.evaluation import write_result

        stage, label = stages[number], f"[{number + 1}/{len(stages)}]"
        marker = self.out / "stages" / f"{stage.name}.json"
        if marker.is_file():
            progress(f"{label} {stage.title}: done before")
            done: dict[str, Any] = json.loads(marker.read_text(encoding="utf-8"))
            return done
        left = sum(later.minutes for later in stages[number:])
        progress(f"{label} {stage.title} (about {stage.minutes:.1f} min; {left:.1f} min to the end)")
        start = time.monotonic()
        result = {**stage.work(), "seconds": round(time.monotonic() - start, 1)}
        write_result(marker, result)
        return result

    def _tokenizer(self) -> dict[str, Any]:
        run = configs.training("vqgan", size=self.size, data=self.data, seed=self.seed)
        return _train(run, self.out / "tokenizer", self.minutes * TOKENIZER)

    def _generator(self) -> dict[str, Any]:
        folder = str(self.out / "tokenizer")
        run = configs.training("meissonic", size=self.size, data=self.data, tokenizer=folder, seed=self.seed)
        return _train(run, self.out / "generator", self.minutes * GENERATOR)

    def _pipeline(self) -> TextToImagePipeline:
        from mimgen.pipelines import TextToImagePipeline
        from mimgen.pipelines.open import open_pipeline

        pipeline = open_pipeline(str(self.out / "generator"))
        assert isinstance(pipeline, TextToImagePipeline)  # as Meissonic's config trains it
        return pipeline

    def _reconstruction(self) -> dict[str, Any]:
        """PSNR, SSIM and code use on `val`."""
        from mimgen.evaluation import measure

        pipeline = self._pipeline()
        return measure.reconstruction(pipeline.vqvae, self.data, measure.size_of(pipeline), "val")

    def _composition(self) -> dict[str, Any]:
        """Composition score and FID of the same images, which are kept in images.safetensors."""
        import torch
        from safetensors.torch import save_file

        from mimgen.data import load_images
        from mimgen.evaluation import fid, measure
        from mimgen.ops.images import to_uint8

        pipeline = self._pipeline()
        scored = measure.composition(pipeline, self.data, seed=self.seed)
        found = measure.split_of(self.data, measure.size_of(pipeline), ())
        true = load_images(found.everything, scored.numbers)
        with torch.no_grad():
            again = measure.through(pipeline, true)
        parts = {"true": true, "reconstructed": again, "generated": scored.made}
        save_file({name: to_uint8(part).contiguous() for name, part in parts.items()}, self.out / "images.safetensors")
        pipeline.save(self.out / "pipeline")
        prompts = [found.everything.captions[number] for number in scored.numbers]
        return {**scored.result, "prompts": prompts, "fid": fid(scored.made, true)}

    def _probe(self) -> dict[str, Any]:
        """Linear probes of the generator's blocks and of raw pixels."""
        from mimgen.evaluation import measure

        return measure.probe(self._pipeline(), self.data, seed=self.seed)


def _train(run: TrainingRun, out: Path, minutes: float) -> dict[str, Any]:
    """Train for `minutes`, with as many steps as fit, so that the learning rate ends at zero."""
    from mimgen.recipes import TrainGenerator

    start = time.monotonic()
    steps = steps_that_fit(run, out, 60 * minutes)
    settings = replace(
        run.settings, steps=steps, warmup=max(1, min(run.settings.warmup, steps // 10)), tracker="none",
        save_every=max(20, steps // 10), sample_every=max(1, steps // WATCHES), log_every=max(1, steps // 150),
        time_limit=60 * minutes * 1.1,
    )  # fmt: skip
    run = replace(run, settings=settings)
    result = run.run(out, _watcher(run, out)) if isinstance(run, TrainGenerator) else run.run(out)
    # the loop reports a signal and its own time limit alike; only the former comes early
    if result.interrupted and time.monotonic() - start < 60 * minutes:
        raise KeyboardInterrupt
    return {"steps": result.step, "batch_size": settings.batch_size, "losses": result.losses}


def _watcher(run: TrainingRun, out: Path) -> Callable[[Any, int], None]:
    """Scores a few prompts while training goes on, one line per time in quality.jsonl."""
    path = out / "quality.jsonl"
    before = json.loads(path.read_text("utf-8").splitlines()[-1])["seconds"] if path.is_file() else 0.0
    start = time.monotonic() - before

    def watch(pipeline: Any, step: int) -> None:
        from mimgen.evaluation import measure

        scored = measure.composition(pipeline, run.data_config.spec, limit=WATCHED, steps=8).result["generated"]
        line = {"step": step, "seconds": time.monotonic() - start, "r5": scored["r5"],
                "median_rank": scored["median_rank"]}  # fmt: skip
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    return watch
