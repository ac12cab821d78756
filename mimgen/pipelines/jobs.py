"""From the flags of `mimgen generate` to a function that draws: without a picture, over one, in it or around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.errors import UserError
from mimgen.pipelines.open import find_pipeline
from mimgen.pipelines.saving import save_picture

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from mimgen.cli.generate import Arguments
    from mimgen.pipelines import Drawn, Preset, Preview, TextToImage

__all__ = ["Drawing", "Given", "Task", "drawing", "given_picture"]

STRENGTH = 0.6  # of an edit without a mask


@dataclass(frozen=True)
class Task:
    """One picture that is asked for.

    Attributes:
        prompt: its caption.
        seed: of its random numbers.
        negative: what the guidance leads away from.
        path: of the file.
        name: of its previews.
    """

    prompt: str
    seed: int
    negative: str
    path: Path
    name: str


@dataclass(frozen=True)
class Given:
    """What the user gave besides prompts.

    Attributes:
        size: (height, width) asked for, or None.
        picture: RGB, or None to draw without one.
        mask: white where the picture is drawn anew, or None.
        margins: pixels left, top, right, bottom to draw around it, or None.
    """

    size: tuple[int, int] | None
    picture: Image | None
    mask: Image | None
    margins: tuple[int, int, int, int] | None


@dataclass(frozen=True)
class Drawing:
    """Draws tasks.

    Attributes:
        draw: the pipeline, or what changes pictures with it.
        given: arguments that come behind the prompts: pictures, masks, margins.
        options: further arguments of each call.
        preview: folder for previews, or None.
        every: steps from one preview to the next.
        settings: what decides how the pictures look, besides the tasks.
    """

    draw: Callable[..., Drawn]
    given: tuple[Any, ...]
    options: dict[str, Any]
    preview: Path | None
    every: int
    settings: dict[str, Any]

    def __call__(self, tasks: Sequence[Task]) -> Tensor:
        """[b, 3, H, W] in [0, 1], one picture a task."""
        previews: dict[str, Any] = {}
        if self.preview is not None:
            previews = {"on_preview": lambda shown: self._show(shown, tasks), "preview_every": self.every}
        drawn = self.draw(
            [task.prompt for task in tasks],
            *self.given,
            seed=[task.seed for task in tasks],
            negative_prompt=[task.negative for task in tasks],
            batch_size=len(tasks),
            **previews,
            **self.options,
        )
        images: Tensor = drawn.images
        return images

    def _show(self, shown: Preview, tasks: Sequence[Task]) -> None:
        assert self.preview is not None
        for place, image in enumerate(shown.images, start=shown.first):
            save_picture(image, self.preview / f"{tasks[place].name}-step-{shown.step + 1:03d}.png")


def given_picture(options: Arguments) -> Given:
    """Read what the flags name, before a model is loaded.

    Raises:
        UserError: flags that do not go together, or a file that is no picture.
    """
    if options.image is None:
        for flag in ("mask", "outpaint", "strength", "feather"):
            if getattr(options, flag) is not None:
                raise UserError(f"--{flag} needs a picture to start from: add --image FILE")
    if options.mask is not None and options.outpaint is not None:
        raise UserError("give --mask to draw inside the picture or --outpaint to draw around it, one at a time")
    if options.strength is not None and not 0 < options.strength <= 1:
        raise UserError(f"--strength {options.strength}: give a number above 0 and up to 1")
    if options.dilate < 0:
        raise UserError(f"--dilate {options.dilate}: give 0 or more tokens")
    if options.feather is not None and options.feather < -1:
        raise UserError(f"--feather {options.feather}: give 0 or more pixels, or -1 for no blending")
    margins = None if options.outpaint is None else _numbers("--outpaint", options.outpaint, ",", 4, "16,0,16,0")
    size = None if options.resolution is None else _numbers("--resolution", options.resolution, "x", 2, "64x96")
    picture = None if options.image is None else _opened("--image", options.image)
    mask = None if options.mask is None else _opened("--mask", options.mask)
    if picture is not None and mask is not None and picture.size != mask.size:
        raise UserError(
            f"--mask {options.mask} is {mask.width} x {mask.height} px and --image {options.image} "
            f"{picture.width} x {picture.height}: both must have one size"
        )
    return Given(size, picture, mask, margins)  # type: ignore[arg-type]


def drawing(pipeline: TextToImage, given: Given, options: Arguments) -> Drawing:
    """What draws with these flags; prints to which size a picture is brought.

    Raises:
        UserError: sizes that do not divide into tokens.
    """
    calls = _calls(pipeline.preset, given, options)
    fields = pipeline.preset.__dataclass_fields__
    changes = {name: value for name, value in calls.items() if name in fields}
    changed = pipeline.changed(**changes)
    settings = {**calls, **asdict(changed.preset), **_fingerprint(options), "n": options.n}
    arguments: tuple[Any, ...] = ()
    if given.picture is not None:
        arguments = _pictures(pipeline, given, options)
        calls.pop("resolution", None)  # the picture has it
    _ = changed.grid  # a size that does not divide is refused before anything is written
    draw = _function(pipeline, given)
    return Drawing(draw, arguments, calls, options.preview, options.preview_every, settings)


def _calls(preset: Preset, given: Given, options: Arguments) -> dict[str, Any]:
    """The arguments of every call that the flags set."""
    from mimgen.generators import FeatureCache

    calls: dict[str, Any] = {
        "steps": options.steps,
        "guidance_scale": options.guidance,
        "order": options.order,
        "token_temperature": options.temperature,
        "score": options.score,
        "resolution": given.size,
    }
    if options.cache is not None:
        calls["speed"] = replace(preset.speed, cache=FeatureCache(options.cache))
    if given.picture is not None:
        masked = given.mask is not None or given.margins is not None
        calls["strength"] = (None if masked else STRENGTH) if options.strength is None else options.strength
        if masked:
            calls |= {"dilate": options.dilate, "feather": options.feather}
    return {name: value for name, value in calls.items() if value is not None}


def _function(pipeline: TextToImage, given: Given) -> Callable[..., Drawn]:
    """What draws without a picture, over one, in it or around it."""
    from mimgen.pipelines import edit, inpaint, outpaint

    if given.picture is None:
        return pipeline
    if given.margins is not None:
        return partial(outpaint, pipeline)
    return partial(edit if given.mask is None else inpaint, pipeline)


def _pictures(pipeline: TextToImage, given: Given, options: Arguments) -> tuple[Any, ...]:
    """Picture, and mask or margins, as the functions of mimgen.pipelines take them."""
    from mimgen.pipelines.pictures import fitted, to_mask, to_tensor

    picture, mask = given.picture, given.mask
    assert picture is not None
    own = (picture.height, picture.width)
    height, width = given.size or (own if given.margins is not None else pipeline.preset.resolution)
    side = pipeline.vqvae.downsample
    if min(height, width) < 1:
        raise UserError(f"--resolution {options.resolution}: give a height and a width of at least {side} px")
    if height % side or width % side:
        raise UserError(
            f"{width} x {height} px do not divide into tokens of {side} px: give --resolution in multiples of {side}, "
            f"such as {max(1, height // side) * side}x{max(1, width // side) * side}"
        )
    if (height, width) != own:
        print(f"{options.image}: {own[1]} x {own[0]} px scaled and cut to {width} x {height}")
        picture = fitted(picture, height, width)
        mask = None if mask is None else fitted(mask, height, width, mask=True)
    image = to_tensor(picture)
    if given.margins is not None:
        return image, given.margins
    return (image,) if mask is None else (image, to_mask(mask))


def _fingerprint(options: Arguments) -> dict[str, Any]:
    """Model and pictures by what their files hold, where pictures may be added later to others."""
    if options.prompts is None:
        return {}
    weights = sorted(find_pipeline(options.model).rglob("*.safetensors"))
    return {
        "model": options.model,
        "weights": _digest(weights),
        "memory": options.memory,
        "outpaint": options.outpaint,
        "image": _digest([path for path in (options.image, options.mask) if path is not None]),
    }


def _digest(files: Sequence[Path]) -> str:
    """16 hexadecimal digits that stand for what the files hold; empty without a file."""
    import hashlib

    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:16] if files else ""


def _numbers(flag: str, text: str, sign: str, count: int, example: str) -> tuple[int, ...]:
    words = text.lower().split(sign)
    if len(words) != count or not all(word.strip().isdecimal() for word in words):
        raise UserError(f"{flag} {text}: give {count} whole numbers like {example}")
    return tuple(int(word) for word in words)


def _opened(flag: str, path: Path) -> Image:
    from mimgen.data.sources.decode import CorruptPicture, decode_picture

    try:
        return decode_picture(path.read_bytes())
    except OSError as error:
        raise UserError(f"{flag} {path} cannot be read ({error.strerror})") from None
    except CorruptPicture:
        raise UserError(f"{flag} {path} is no picture that can be read: give a PNG or JPEG file") from None
