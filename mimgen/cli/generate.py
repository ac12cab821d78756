"""`mimgen generate PROMPT ...`: images from prompts or of classes, and changed after them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from mimgen.cli.options import parse
from mimgen.pipelines.jobs import ImageGenerator, image_generator, write_grid, write_images
from mimgen.pipelines.open import find_pipeline, open_pipeline, pipeline_conditioning
from mimgen.pipelines.request import GenerationRequest
from mimgen.pipelines.saving import Folder, GenerationJob
from mimgen.report.run_folder import writable

__all__ = ["main"]


@dataclass(frozen=True)
class Arguments(GenerationRequest):
    """Make images from prompts, or change images after prompts.

    For example: mimgen generate "woman astronaut: dark skin tone" --out a.png

    Of a class, by number or name: mimgen generate --class 3 --model runs/maskgit --out a.png

    To change an image: mimgen generate "red heart" --image face.png --mask mouth.png --out b.png
    """

    prompt: tyro.conf.Positional[tuple[str, ...]] = ()
    classes: Annotated[tuple[str, ...], tyro.conf.arg(name="class")] = ()


def main(arguments: list[str]) -> int:
    """Write one image file for each prompt and number, or one of all."""
    options = parse(Arguments, arguments, "mimgen generate")
    find_pipeline(options.model)
    options.check_asked(pipeline_conditioning(options.model))
    jobs, inputs = options.jobs(), options.load_inputs()
    for folder in (jobs[0].path.parent, options.preview):
        if folder is not None:
            writable(folder)
    generate = image_generator(open_pipeline(options.model, options.memory), inputs, options)
    if generate.note is not None:
        print(generate.note)
    if options.grid:
        print(f"{write_grid(generate, jobs, options.grid, options.batch)}  {len(jobs)} images")
    else:
        _each(generate, jobs, options)
    return 0


def _each(generate: ImageGenerator, jobs: Sequence[GenerationJob], options: Arguments) -> None:
    """A file each, written as soon as its batch is generated."""
    folder = None if options.prompts is None else Folder.open(jobs[0].path.parent, generate.settings)
    left = jobs if folder is None else folder.missing(jobs)
    if len(left) < len(jobs):
        print(f"{len(jobs) - len(left)} of {len(jobs)} images are there already")
    done = 0
    try:
        for job in write_images(generate, left, options.batch, folder):
            done += 1
            print(f"{job.path}  {'' if job.prompt is None else job.prompt}  (seed {job.seed})", flush=True)
    except KeyboardInterrupt:
        again = "; the same command resumes from there" if folder is not None else ""
        sys.stderr.write(f"{done} of {len(left)} images are written{again}\n")
        raise
