"""`mimgen quickstart`: from nothing to images, scores and a report, in minutes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen import configs
from mimgen.cli.options import parse
from mimgen.errors import UserError
from mimgen.recipes.planning import steps_that_fit
from mimgen.report.run_folder import check_same_settings, prepare_folder

if TYPE_CHECKING:
    from mimgen.pipelines import TextToImagePipeline
    from mimgen.recipes import TrainingRun

__all__ = ["main"]

# Shares of the time; the rest is loading, sampling and measuring.
TOKENIZER, GENERATOR = 0.18, 0.66
WATCHED = 41  # prompts of the quality curve
WATCHES = 4  # points on it


@dataclass(frozen=True)
class Arguments:
    """Train a tokenizer and a text-to-image generator from nothing, make images, measure, report.

    Stopped half-way? The same command resumes where it was.

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


@dataclass(frozen=True)
class Stage:
    """A step of the quickstart.

    Attributes:
        name: of its marker file.
        title: what is said while it runs.
        minutes: about how long it takes.
        work: does it and returns JSON.
    """

    name: str
    title: str
    minutes: float
    work: Callable[[], dict[str, Any]]


def main(arguments: list[str]) -> int:
    """Run the stages that are not done yet, write the report, say what to try next."""
    options = parse(Arguments, arguments, "mimgen quickstart")
    if options.minutes <= 0:
        raise UserError(f"--minutes {options.minutes:g}: give a positive number; 11 is the default")
    requested = {key: value for key, value in asdict(options).items() if key != "out"}
    check_same_settings(options.out, requested, "quickstart")
    prepare_folder(options.out, ["quickstart", *arguments])
    stages = _stages(options)
    results = {}
    for number, stage in enumerate(stages):
        results[stage.name] = _run(stage, number, stages, options.out)

    from mimgen.report.quickstart import closing, write

    write(options.out, options.minutes, options.data, options.size, results)
    print(closing(options.out, results))
    return 0


def _stages(options: Arguments) -> list[Stage]:
    minutes, out = options.minutes, options.out
    rest = minutes * (1 - TOKENIZER - GENERATOR) / 3

    def evaluated(name: str) -> Callable[[], dict[str, Any]]:
        from mimgen.recipes import quickstart_scores

        return lambda: getattr(quickstart_scores, name)(out, options.data, options.seed)  # type: ignore[no-any-return]

    return [
        Stage("tokenizer", "teaching the tokenizer to generate from a codebook", minutes * TOKENIZER,
              lambda: _tokenizer(options)),
        Stage("generator", "teaching the generator to follow captions", minutes * GENERATOR,
              lambda: _generator(options)),
        Stage("reconstruction", "measuring the tokenizer", rest / 2, evaluated("reconstruction")),
        Stage("composition", "making images for prompts it never saw, and scoring them", rest * 1.5,
              evaluated("composition")),
        Stage("probe", "probing what the generator's inside knows", rest, evaluated("probe")),
    ]  # fmt: skip


def _run(stage: Stage, number: int, stages: list[Stage], out: Path) -> dict[str, Any]:
    """Do a stage, or read what it gave when it was done before."""
    from mimgen.evaluation import write_result

    marker = out / "stages" / f"{stage.name}.json"
    label = f"[{number + 1}/{len(stages)}]"
    if marker.is_file():
        print(f"{label} {stage.title}: done before", flush=True)
        done: dict[str, Any] = json.loads(marker.read_text(encoding="utf-8"))
        return done
    left = sum(later.minutes for later in stages[number:])
    print(f"{label} {stage.title} (about {stage.minutes:.1f} min; {left:.1f} min to the end)", flush=True)
    start = time.monotonic()
    result = {**stage.work(), "seconds": round(time.monotonic() - start, 1)}
    write_result(marker, result)
    return result


def _tokenizer(options: Arguments) -> dict[str, Any]:
    run = configs.training("vqgan", size=options.size, data=options.data, seed=options.seed)
    return _train(run, options.out / "tokenizer", options.minutes * TOKENIZER)


def _generator(options: Arguments) -> dict[str, Any]:
    folder = str(options.out / "tokenizer")
    run = configs.training(
        "meissonic", size=options.size, data=options.data, tokenizer=folder, seed=options.seed
    )
    return _train(run, options.out / "generator", options.minutes * GENERATOR)


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
    if result.interrupted and time.monotonic() - start < 60 * minutes:
        raise KeyboardInterrupt
    return {"steps": result.step, "batch_size": settings.batch_size, "losses": result.losses}


def _watcher(run: TrainingRun, out: Path) -> Callable[[TextToImagePipeline, int], None]:
    """Scores a few prompts while training resumes, one line a time in quality.jsonl."""
    path = out / "quality.jsonl"
    before = json.loads(path.read_text("utf-8").splitlines()[-1])["seconds"] if path.is_file() else 0.0
    start = time.monotonic() - before

    def watch(pipeline: TextToImagePipeline, step: int) -> None:
        from mimgen.evaluation import measure

        scored = measure.composition(pipeline, run.data_config.spec, limit=WATCHED, steps=8).result["generated"]
        line = {"step": step, "seconds": time.monotonic() - start, "r5": scored["r5"],
                "median_rank": scored["median_rank"]}  # fmt: skip
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    return watch
