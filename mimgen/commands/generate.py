"""`mimgen generate PROMPT ...`: pictures from prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from mimgen.commands.folder import writable
from mimgen.commands.models import find_pipeline, open_pipeline
from mimgen.commands.options import parse
from mimgen.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["main"]

FORMATS = (".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tiff")


@dataclass(frozen=True)
class Arguments:
    """Make pictures from prompts.

    For example: mimgen generate "woman astronaut: dark skin tone" --out a.png

    Attributes:
        prompts: one or more prompts, each in quotes.
        model: "bundled", the folder of a run, or a pipeline folder.
        out: file to write; several pictures are written as NAME-0.png, NAME-1.png, ...
        n: pictures for each prompt.
        grid: put all pictures side by side into the one file, so many in a row; 0 for a file each.
        seed: picture i is made with seed + i and looks the same however many are made.
        steps: in how many steps a picture is made; by default what the model was saved with.
        guidance: how strongly a picture follows its prompt, 1 is off; by default the model's.
        temperature: below 1 likelier tokens are preferred; by default the model's.
        order: in which order tokens are fixed: confidence, halton, random or raster.
    """

    prompts: tyro.conf.Positional[tuple[str, ...]]
    model: str = "bundled"
    out: Path = Path("mimgen.png")
    n: int = 1
    grid: int = 0
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    order: str | None = None
    temperature: float | None = None


def main(arguments: list[str]) -> int:
    """Write one picture file for each prompt and number."""
    options = parse(Arguments, arguments, "mimgen generate")
    _check(options)
    find_pipeline(options.model)
    writable(options.out.parent)
    prompts = [prompt for prompt in options.prompts for _ in range(options.n)]
    pipeline = open_pipeline(options.model)
    changes: dict[str, Any] = {"steps": options.steps, "guidance_scale": options.guidance, "order": options.order,
                               "token_temperature": options.temperature}  # fmt: skip
    pictures = pipeline(
        prompts,
        seed=[options.seed + place for place in range(len(prompts))],
        **{name: value for name, value in changes.items() if value is not None},
    ).images
    if options.grid:
        from mimgen.ops.pictures import tile

        save_picture(tile(pictures, options.grid), options.out)
        print(f"{options.out}  {len(prompts)} pictures")
        return 0
    for place, (prompt, picture) in enumerate(zip(prompts, pictures)):
        path = _path(options.out, place, len(prompts))
        save_picture(picture, path)
        print(f"{path}  {prompt}  (seed {options.seed + place})")
    return 0


def _check(options: Arguments) -> None:
    if not options.prompts:
        raise UserError('give a prompt in quotes, for example: mimgen generate "red heart" --out heart.png')
    if options.n < 1:
        raise UserError(f"--n {options.n}: ask for at least one picture")
    if options.grid < 0:
        raise UserError(f"--grid {options.grid}: give the number of pictures in a row, or 0")
    if options.out.suffix.lower() not in FORMATS:
        raise UserError(f"--out {options.out}: end the name in one of {' '.join(FORMATS)}")


def save_picture(picture: Tensor, path: Path) -> None:
    """Write a picture [3, H, W] in [0, 1] in the format that the name ends in."""
    from PIL import Image

    pixels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels).save(path)


def _path(out: Path, place: int, count: int) -> Path:
    return out if count == 1 else out.with_stem(f"{out.stem}-{place}")
