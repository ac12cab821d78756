"""What somebody asks `mimgen generate` for: prompts, input images, how they are generated, where they go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mimgen.errors import UserError
from mimgen.pipelines.prompts import read_prompts
from mimgen.pipelines.saving import FORMATS, GenerationJob

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["GenerationRequest", "InputImages"]


@dataclass(frozen=True)
class InputImages:
    """What the user gave besides prompts.

    Attributes:
        size: (height, width) asked for, or None.
        image: RGB, or None to generate without one.
        mask: white where the image is generated anew, or None.
        margins: pixels left, top, right, bottom to generate around it, or None.
    """

    size: tuple[int, int] | None
    image: Image | None
    mask: Image | None
    margins: tuple[int, int, int, int] | None


@dataclass(frozen=True)
class GenerationRequest:
    """Images from prompts, or changed after prompts.

    Attributes:
        prompt: one or more prompts, each in quotes.
        prompts: a file instead: a prompt a line, or in a .jsonl file objects with "prompt" and, if wanted, "seed",
            "negative" and "name". Images go to the folder --out; what is there already is not made again.
        classes: classes instead of prompts, by number or name, for models that generate classes; unconditional models
            take neither.
        model: "bundled", the folder of a run, or a pipeline folder.
        out: file to write; several images are written as NAME-0.png, NAME-1.png, ... With --prompts a folder. By
            default mimgen.png or images.
        n: images for each prompt.
        grid: put all images side by side into the one file, so many in a row; 0 for a file each.
        batch: images computed at a time; fewer need less memory.
        memory: gigabytes that the graphics card has, 8 or more: number format, offloading and slices that fit; by
            default all in full precision.
        seed: image i is made with seed + i and looks the same however many are made.
        steps: in how many steps an image is made; by default what the model was saved with.
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

    Raises:
        UserError: numbers out of range, or parts that do not go together. Messages name them as the command does.
    """

    prompt: tuple[str, ...] = ()
    prompts: Path | None = None
    classes: tuple[str, ...] = ()
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

    def __post_init__(self) -> None:
        if self.classes and (self.prompt or self.prompts is not None):
            raise UserError("give either prompts or --class: a model reads one of them")
        if self.prompt and self.prompts is not None:
            raise UserError("give either prompts in quotes or a file with --prompts")
        for flag, minimum in (("n", 1), ("grid", 0), ("batch", 1), ("preview_every", 1)):
            if getattr(self, flag) < minimum:
                raise UserError(f"--{flag.replace('_', '-')} {getattr(self, flag)}: give {minimum} or more"
                                f"{' images' if flag in ('n', 'batch') else ''}")  # fmt: skip
        if self.prompts is not None and self.grid:
            raise UserError("--grid makes one file of all images; with --prompts each has its own: leave it out")
        if self.prompts is not None and self.out is not None and self.out.suffix.lower() in FORMATS:
            raise UserError(f"--out {self.out}: with --prompts give a folder")
        if self.prompts is None and self.out is not None and self.out.suffix.lower() not in FORMATS:
            raise UserError(f"--out {self.out}: end the name in one of {' '.join(FORMATS)}")
        self._check_inputs()

    def check_asked(self, conditioning: str) -> None:
        """Refuse what a model that is conditioned on "text", "class" or "none" cannot be asked for.

        Raises:
            UserError: a prompt where classes are generated, a class where prompts are read, or nothing at all.
        """
        prompted = bool(self.prompt) or self.prompts is not None
        if conditioning == "text":
            if self.classes:
                raise UserError(f"{self.model} reads captions: give a prompt in quotes instead of --class")
            if not prompted:
                raise UserError('give a prompt in quotes, for example: mimgen generate "red heart" --out heart.png')
            return
        if prompted:
            instead = "give --class, by number or name" if conditioning == "class" else "leave the prompt out"
            raise UserError(f"{self.model} reads no captions: {instead}")
        if conditioning == "class" and not self.classes:
            raise UserError(f"{self.model} generates classes: say which with --class, by number or name")
        if conditioning == "none" and self.classes:
            raise UserError(f"{self.model} is unconditional: leave out --class")
        flags = {"negative": self.negative, "score": self.score, "cache": self.cache}
        if given := [f"--{flag}" for flag, value in flags.items() if value not in ("", None)]:
            raise UserError(f"{', '.join(given)} belongs to models that read captions: leave it out")

    def jobs(self) -> Sequence[GenerationJob]:
        """One job per image.

        Raises:
            UserError: a file of prompts that cannot be read.
        """
        if self.prompts is not None:
            return self._jobs_of_file(self.prompts)
        asked: Sequence[str | None] = self.prompt or self.classes or (None,)
        prompts = [prompt for prompt in asked for _ in range(self.n)]
        out = self.out or Path("mimgen.png")
        jobs = []
        for number, prompt in enumerate(prompts):
            path = out if len(prompts) == 1 else out.with_stem(f"{out.stem}-{number}")
            seed, file = self.seed + number, out if self.grid else path
            jobs.append(GenerationJob(prompt, seed, self.negative, file, path.stem))
        return jobs

    def _jobs_of_file(self, path: Path) -> Sequence[GenerationJob]:
        out, jobs = self.out or Path("images"), []
        for number, line in enumerate(read_prompts(path)):
            for copy in range(self.n):
                seed = self.seed + number * self.n if line.seed is None else line.seed
                negative = self.negative if line.negative is None else line.negative
                name = line.name if self.n == 1 else f"{line.name}-{copy}"
                jobs.append(GenerationJob(line.prompt, seed + copy, negative, out / f"{name}.png", name))
        return jobs

    def load_inputs(self) -> InputImages:
        """Read the input images, before a model is loaded.

        Raises:
            UserError: a file that is no image, or a mask of another size than its image.
        """
        margins = None if self.outpaint is None else _numbers("--outpaint", self.outpaint, ",", 4, "16,0,16,0")
        size = None if self.resolution is None else _numbers("--resolution", self.resolution, "x", 2, "64x96")
        image = None if self.image is None else _opened("--image", self.image)
        mask = None if self.mask is None else _opened("--mask", self.mask)
        if image is not None and mask is not None and image.size != mask.size:
            raise UserError(
                f"--mask {self.mask} is {mask.width} x {mask.height} px and --image {self.image} "
                f"{image.width} x {image.height}: both must have one size"
            )
        return InputImages(size, image, mask, margins)  # type: ignore[arg-type]

    def _check_inputs(self) -> None:
        if self.image is None:
            for flag in ("mask", "outpaint", "strength", "feather"):
                if getattr(self, flag) is not None:
                    raise UserError(f"--{flag} needs an image to start from: add --image FILE")
        if self.mask is not None and self.outpaint is not None:
            raise UserError(
                "give --mask to generate inside the image or --outpaint to generate around it, one at a time"
            )
        if self.strength is not None and not 0 < self.strength <= 1:
            raise UserError(f"--strength {self.strength}: give a number above 0 and up to 1")
        if self.dilate < 0:
            raise UserError(f"--dilate {self.dilate}: give 0 or more tokens")
        if self.feather is not None and self.feather < -1:
            raise UserError(f"--feather {self.feather}: give 0 or more pixels, or -1 for no blending")


def _numbers(flag: str, text: str, sign: str, count: int, example: str) -> tuple[int, ...]:
    words = text.lower().split(sign)
    if len(words) != count or not all(word.strip().isdecimal() for word in words):
        raise UserError(f"{flag} {text}: give {count} whole numbers like {example}")
    return tuple(int(word) for word in words)


def _opened(flag: str, path: Path) -> Image:
    from mimgen.data.sources.decode import CorruptImage, decode_image

    try:
        return decode_image(path.read_bytes())
    except OSError as error:
        raise UserError(f"{flag} {path} cannot be read ({error.strerror})") from None
    except CorruptImage:
        raise UserError(f"{flag} {path} is no image that can be read: give a PNG or JPEG file") from None
