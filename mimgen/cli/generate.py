"""`mimgen generate PROMPT ...`: pictures from prompts, and after prompts from pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from mimgen.cli.options import parse
from mimgen.errors import UserError
from mimgen.pipelines.jobs import Drawing, Task, drawing, given_picture
from mimgen.pipelines.open import find_pipeline, open_pipeline
from mimgen.pipelines.saving import FORMATS, Folder, save_picture
from mimgen.report.run_folder import writable

__all__ = ["main"]


@dataclass(frozen=True)
class Arguments:
    """Make pictures from prompts, or change pictures after prompts.

    For example: mimgen generate "woman astronaut: dark skin tone" --out a.png

    To change a picture: mimgen generate "red heart" --image face.png --mask mouth.png --out b.png

    Attributes:
        prompt: one or more prompts, each in quotes.
        prompts: a file instead: a prompt a line, or in a .jsonl file objects with "prompt" and, if wanted, "seed",
            "negative" and "name". Pictures go to the folder --out; what is there already is not made again.
        model: "bundled", the folder of a run, or a pipeline folder.
        out: file to write; several pictures are written as NAME-0.png, NAME-1.png, ... With --prompts a folder. By
            default mimgen.png or pictures.
        n: pictures for each prompt.
        grid: put all pictures side by side into the one file, so many in a row; 0 for a file each.
        batch: pictures computed at a time; fewer need less memory.
        memory: gigabytes that the graphics card has, 8 or more: number format, offloading and slices that fit; by
            default all in full precision.
        seed: picture i is made with seed + i and looks the same however many are made.
        steps: in how many steps a picture is made; by default what the model was saved with.
        guidance: how strongly a picture follows its prompt, 1 is off; by default the model's.
        negative: what the guidance leads away from.
        temperature: below 1 likelier tokens are preferred; by default the model's.
        order: in which order tokens are fixed: confidence, halton, random or raster.
        cache: tokens that stay are computed in every so many steps only and kept in between, which is quicker (most
            with --order halton) and not quite the same; 1 computes all. By default the model's.
        resolution: HEIGHTxWIDTH in pixels, multiples of the side of a token; by default the model's. Pictures that are
            given are scaled and cut to it.
        score: preference score that the model is told; by default the model's.
        image: a picture to start from.
        strength: how much of --image is drawn anew, above 0 and up to 1; by default 0.6, and 1 under a --mask.
        mask: draw anew only what is white in this picture, which is as large as --image.
        outpaint: LEFT,TOP,RIGHT,BOTTOM in pixels: draw so much around --image.
        dilate: tokens by which the part drawn anew grows beyond the mask.
        feather: pixels over which old and new fade into each other; by default the side of a token. -1: no blending.
        preview: folder for pictures of what is there every few steps.
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
    """Write one picture file for each prompt and number."""
    options = parse(Arguments, arguments, "mimgen generate")
    _check(options)
    tasks, given = _tasks(options), given_picture(options)
    find_pipeline(options.model)
    for place in (tasks[0].path.parent, options.preview):
        if place is not None:
            writable(place)
    draw = drawing(open_pipeline(options.model, options.memory), given, options)
    if options.grid:
        _side_by_side(draw, tasks, options)
    else:
        _each(draw, tasks, options)
    return 0


def _side_by_side(draw: Drawing, tasks: Sequence[Task], options: Arguments) -> None:
    """All pictures in one file."""
    import torch

    from mimgen.ops.pictures import tile

    rows = [draw(tasks[first : first + options.batch]) for first in range(0, len(tasks), options.batch)]
    save_picture(tile(torch.cat(rows), options.grid), tasks[0].path)
    print(f"{tasks[0].path}  {len(tasks)} pictures")


def _each(draw: Drawing, tasks: Sequence[Task], options: Arguments) -> None:
    """A file each, written as soon as its batch is drawn."""
    folder = None if options.prompts is None else Folder.open(tasks[0].path.parent, draw.settings)
    left = tasks if folder is None else folder.missing(tasks)
    if len(left) < len(tasks):
        print(f"{len(tasks) - len(left)} of {len(tasks)} pictures are there already")
    done = 0
    try:
        for first in range(0, len(left), options.batch):
            part = left[first : first + options.batch]
            for task, picture in zip(part, draw(part), strict=True):
                save_picture(picture, task.path)
                if folder is not None:
                    folder.note(task)
                done += 1
                print(f"{task.path}  {task.prompt}  (seed {task.seed})", flush=True)
    except KeyboardInterrupt:
        again = "; the same command goes on from there" if folder is not None else ""
        sys.stderr.write(f"{done} of {len(left)} pictures are written{again}\n")
        raise


def _tasks(options: Arguments) -> Sequence[Task]:
    """One task a picture."""
    if options.prompts is not None:
        return _tasks_of_file(options, options.prompts)
    prompts = [prompt for prompt in options.prompt for _ in range(options.n)]
    out = options.out or Path("mimgen.png")
    tasks = []
    for place, prompt in enumerate(prompts):
        path = out if len(prompts) == 1 else out.with_stem(f"{out.stem}-{place}")
        seed, file = options.seed + place, out if options.grid else path
        tasks.append(Task(prompt, seed, options.negative, file, path.stem))
    return tasks


def _tasks_of_file(options: Arguments, path: Path) -> Sequence[Task]:
    from mimgen.pipelines.prompts import read_prompts

    out, tasks = options.out or Path("pictures"), []
    for number, line in enumerate(read_prompts(path)):
        for copy in range(options.n):
            seed = options.seed + number * options.n if line.seed is None else line.seed
            negative = options.negative if line.negative is None else line.negative
            name = line.name if options.n == 1 else f"{line.name}-{copy}"
            tasks.append(Task(line.prompt, seed + copy, negative, out / f"{name}.png", name))
    return tasks


def _check(options: Arguments) -> None:
    """Refuse numbers out of range and flags that do not go together."""
    if not options.prompt and options.prompts is None:
        raise UserError('give a prompt in quotes, for example: mimgen generate "red heart" --out heart.png')
    if options.prompt and options.prompts is not None:
        raise UserError("give either prompts in quotes or a file with --prompts")
    for flag, least in (("n", 1), ("grid", 0), ("batch", 1), ("preview_every", 1)):
        if getattr(options, flag) < least:
            raise UserError(f"--{flag.replace('_', '-')} {getattr(options, flag)}: give {least} or more"
                            f"{' pictures' if flag in ('n', 'batch') else ''}")  # fmt: skip
    if options.prompts is not None and options.grid:
        raise UserError("--grid makes one file of all pictures; with --prompts each has its own: leave it out")
    if options.prompts is not None and options.out is not None and options.out.suffix.lower() in FORMATS:
        raise UserError(f"--out {options.out}: with --prompts give a folder")
    if options.prompts is None and options.out is not None and options.out.suffix.lower() not in FORMATS:
        raise UserError(f"--out {options.out}: end the name in one of {' '.join(FORMATS)}")
