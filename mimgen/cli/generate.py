"""`mimgen generate PROMPT ...`: images from prompts, and after prompts from images."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from mimgen.cli.options import parse
from mimgen.errors import UserError
from mimgen.pipelines.jobs import GenerationJob, ImageGenerator, image_generator, load_inputs
from mimgen.pipelines.open import find_pipeline, open_pipeline
from mimgen.pipelines.saving import FORMATS, Folder, save_image
from mimgen.report.run_folder import writable

__all__ = ["main"]


@dataclass(frozen=True)
class Arguments:
    """Make images from prompts, or change images after prompts.

    For example: mimgen generate "woman astronaut: dark skin tone" --out a.png

    To change an image: mimgen generate "red heart" --image face.png --mask mouth.png --out b.png

    Attributes:
        prompt: one or more prompts, each in quotes.
        prompts: a file instead: a prompt a line, or in a .jsonl file objects with "prompt" and, if wanted, "seed",
            "negative" and "name". Images go to the folder --out; what is there already is not made again.
        model: "bundled", the folder of a run, or a pipeline folder.
        out: file to write; several images are written as NAME-0.png, NAME-1.png, ... With --prompts a folder. By
            default mimgen.png or images.
        n: images for each prompt.
        grid: put all images side by side into the one file, so many in a row; 0 for a file each.
        batch: images computed at a time; fewer need less memory.
        memory: gigabytes that the graphics card has, 8 or more: number format, offloading and slices that fit; by
            default all in full precision.
        seed: image i is made with seed + i and looks the same however many are made.
        steps: in how many steps per image is made; by default what the model was saved with.
        guidance: how strongly an image follows its prompt, 1 is off; by default the model's.
        negative: what the guidance leads away from.
        temperature: below 1 likelier tokens are preferred; by default the model's.
        order: in which order tokens are fixed: confidence, halton, random or raster.
        cache: tokens that stay are computed in every so many steps only and kept in between, which is quicker (most
            with --order halton) and not quite the same; 1 computes all. By default the model's.
        resolution: HEIGHTxWIDTH in pixels, multiples of the side of a token; by default the model's. Images that are
            given are scaled and cut to it.
        score: preference score that the model is told; by default the model's.
        image: an image to start from.
        strength: how much of --image is generated anew, above 0 and up to 1; by default 0.6, and 1 under a --mask.
        mask: generate anew only what is white in this image, which is as large as --image.
        outpaint: LEFT,TOP,RIGHT,BOTTOM in pixels: generate so much around --image.
        dilate: tokens by which the part generated anew grows beyond the mask.
        feather: pixels over which old and new fade into each other; by default the side of a token. -1: no blending.
        preview: folder for images of what is there every few steps.
        preview_every: steps from one preview to the next.
    """

    prompt: tyro.conf.Positional[tuple[str, ...]]
    prompts: Path | None = None
    model: str = "bundled"
    out: Path | None = None
    n: int = 1
    grid: int = 0
    batch: int = 8
    memory: float | None = None
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    negative: str = ""
    temperature: float | None = None
    order: str | None = None
    cache: int | None = None
    resolution: str | None = None
    score: float | None = None
    image: Path | None = None
    strength: float | None = None
    mask: Path | None = None
    outpaint: str | None = None
    dilate: int = 1
    feather: int | None = None
    preview: Path | None = None
    preview_every: int = 4


def main(arguments: list[str]) -> int:
    """Write one image file for each prompt and number."""
    options = parse(Arguments, arguments, "mimgen generate")
    _check(options)
    jobs, inputs = _jobs(options), load_inputs(options)
    find_pipeline(options.model)
    for folder in (jobs[0].path.parent, options.preview):
        if folder is not None:
            writable(folder)
    generate = image_generator(open_pipeline(options.model, options.memory), inputs, options)
    if options.grid:
        _side_by_side(generate, jobs, options)
    else:
        _each(generate, jobs, options)
    return 0


def _side_by_side(generate: ImageGenerator, jobs: Sequence[GenerationJob], options: Arguments) -> None:
    """All images in one file."""
    import torch

    from mimgen.ops.tiling import tile

    rows = [generate(jobs[first : first + options.batch]) for first in range(0, len(jobs), options.batch)]
    save_image(tile(torch.cat(rows), options.grid), jobs[0].path)
    print(f"{jobs[0].path}  {len(jobs)} images")


def _each(generate: ImageGenerator, jobs: Sequence[GenerationJob], options: Arguments) -> None:
    """A file each, written as soon as its batch is generated."""
    folder = None if options.prompts is None else Folder.open(jobs[0].path.parent, generate.settings)
    left = jobs if folder is None else folder.missing(jobs)
    if len(left) < len(jobs):
        print(f"{len(jobs) - len(left)} of {len(jobs)} images are there already")
    done = 0
    try:
        for first in range(0, len(left), options.batch):
            part = left[first : first + options.batch]
            for job, image in zip(part, generate(part), strict=True):
                save_image(image, job.path)
                if folder is not None:
                    folder.note(job)
                done += 1
                print(f"{job.path}  {job.prompt}  (seed {job.seed})", flush=True)
    except KeyboardInterrupt:
        again = "; the same command resumes from there" if folder is not None else ""
        sys.stderr.write(f"{done} of {len(left)} images are written{again}\n")
        raise


def _jobs(options: Arguments) -> Sequence[GenerationJob]:
    """One task per image."""
    if options.prompts is not None:
        return _jobs_of_file(options, options.prompts)
    prompts = [prompt for prompt in options.prompt for _ in range(options.n)]
    out = options.out or Path("mimgen.png")
    jobs = []
    for number, prompt in enumerate(prompts):
        path = out if len(prompts) == 1 else out.with_stem(f"{out.stem}-{number}")
        seed, file = options.seed + number, out if options.grid else path
        jobs.append(GenerationJob(prompt, seed, options.negative, file, path.stem))
    return jobs


def _jobs_of_file(options: Arguments, path: Path) -> Sequence[GenerationJob]:
    from mimgen.pipelines.prompts import read_prompts

    out, jobs = options.out or Path("images"), []
    for number, line in enumerate(read_prompts(path)):
        for copy in range(options.n):
            seed = options.seed + number * options.n if line.seed is None else line.seed
            negative = options.negative if line.negative is None else line.negative
            name = line.name if options.n == 1 else f"{line.name}-{copy}"
            jobs.append(GenerationJob(line.prompt, seed + copy, negative, out / f"{name}.png", name))
    return jobs


def _check(options: Arguments) -> None:
    """Refuse numbers out of range and flags that do not go together."""
    if not options.prompt and options.prompts is None:
        raise UserError('give a prompt in quotes, for example: mimgen generate "red heart" --out heart.png')
    if options.prompt and options.prompts is not None:
        raise UserError("give either prompts in quotes or a file with --prompts")
    for flag, minimum in (("n", 1), ("grid", 0), ("batch", 1), ("preview_every", 1)):
        if getattr(options, flag) < minimum:
            raise UserError(f"--{flag.replace('_', '-')} {getattr(options, flag)}: give {minimum} or more"
                            f"{' images' if flag in ('n', 'batch') else ''}")  # fmt: skip
    if options.prompts is not None and options.grid:
        raise UserError("--grid makes one file of all images; with --prompts each has its own: leave it out")
    if options.prompts is not None and options.out is not None and options.out.suffix.lower() in FORMATS:
        raise UserError(f"--out {options.out}: with --prompts give a folder")
    if options.prompts is None and options.out is not None and options.out.suffix.lower() not in FORMATS:
        raise UserError(f"--out {options.out}: end the name in one of {' '.join(FORMATS)}")
