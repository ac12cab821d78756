"""From the flags of `mimgen generate` to a function that generates: without an image, over one, in it or around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.errors import UserError
from mimgen.pipelines.open import find_pipeline
from mimgen.pipelines.saving import save_image

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from mimgen.cli.generate import Arguments
    from mimgen.pipelines import GenerationOutput, Preset, Preview, TextToImage

__all__ = ["GenerationJob", "ImageGenerator", "InputImages", "image_generator", "load_inputs"]

STRENGTH = 0.6  # of an edit without a mask


@dataclass(frozen=True)
class GenerationJob:
    """One image that is asked for.

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
class ImageGenerator:
    """Generates tasks.

    Attributes:
        generate: the pipeline, or what changes images with it.
        inputs: arguments that come behind the prompts: images, masks, margins.
        options: further arguments of each call.
        preview: folder for previews, or None.
        every: steps from one preview to the next.
        settings: what decides how the images look, besides the tasks.
    """

    generate: Callable[..., GenerationOutput]
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    preview: Path | None
    every: int
    settings: dict[str, Any]

    def __call__(self, jobs: Sequence[GenerationJob]) -> Tensor:
        """[b, 3, H, W] in [0, 1], one image a task."""
        previews: dict[str, Any] = {}
        if self.preview is not None:
            previews = {
                "on_preview": lambda preview_images: self._show(preview_images, jobs),
                "preview_every": self.every,
            }
        output = self.generate(
            [job.prompt for job in jobs],
            *self.inputs,
            seed=[job.seed for job in jobs],
            negative_prompt=[job.negative for job in jobs],
            batch_size=len(jobs),
            **previews,
            **self.options,
        )
        images: Tensor = output.images
        return images

    def _show(self, preview_images: Preview, jobs: Sequence[GenerationJob]) -> None:
        assert self.preview is not None
        for number, image in enumerate(preview_images.images, start=preview_images.first):
            save_image(image, self.preview / f"{jobs[number].name}-step-{preview_images.step + 1:03d}.png")


def load_inputs(options: Arguments) -> InputImages:
    """Read what the flags name, before a model is loaded.

    Raises:
        UserError: flags that do not go together, or a file that is no image.
    """
    if options.image is None:
        for flag in ("mask", "outpaint", "strength", "feather"):
            if getattr(options, flag) is not None:
                raise UserError(f"--{flag} needs an image to start from: add --image FILE")
    if options.mask is not None and options.outpaint is not None:
        raise UserError("give --mask to generate inside the image or --outpaint to generate around it, one at a time")
    if options.strength is not None and not 0 < options.strength <= 1:
        raise UserError(f"--strength {options.strength}: give a number above 0 and up to 1")
    if options.dilate < 0:
        raise UserError(f"--dilate {options.dilate}: give 0 or more tokens")
    if options.feather is not None and options.feather < -1:
        raise UserError(f"--feather {options.feather}: give 0 or more pixels, or -1 for no blending")
    margins = None if options.outpaint is None else _numbers("--outpaint", options.outpaint, ",", 4, "16,0,16,0")
    size = None if options.resolution is None else _numbers("--resolution", options.resolution, "x", 2, "64x96")
    image = None if options.image is None else _opened("--image", options.image)
    mask = None if options.mask is None else _opened("--mask", options.mask)
    if image is not None and mask is not None and image.size != mask.size:
        raise UserError(
            f"--mask {options.mask} is {mask.width} x {mask.height} px and --image {options.image} "
            f"{image.width} x {image.height}: both must have one size"
        )
    return InputImages(size, image, mask, margins)  # type: ignore[arg-type]


def image_generator(pipeline: TextToImage, inputs: InputImages, options: Arguments) -> ImageGenerator:
    """What generates with these flags; prints to which size per image is brought.

    Raises:
        UserError: sizes that do not divide into tokens.
    """
    calls = _calls(pipeline.preset, inputs, options)
    fields = pipeline.preset.__dataclass_fields__
    changes = {name: value for name, value in calls.items() if name in fields}
    changed = pipeline.changed(**changes)
    settings = {**calls, **asdict(changed.preset), **_fingerprint(options), "n": options.n}
    arguments: tuple[Any, ...] = ()
    if inputs.image is not None:
        arguments = _images(pipeline, inputs, options)
        calls.pop("resolution", None)  # the image has it
    _ = changed.grid  # a size that does not divide is refused before anything is written
    generate = _function(pipeline, inputs)
    return ImageGenerator(generate, arguments, calls, options.preview, options.preview_every, settings)


def _calls(preset: Preset, inputs: InputImages, options: Arguments) -> dict[str, Any]:
    """The arguments of every call that the flags set."""
    from mimgen.generators import FeatureCache

    calls: dict[str, Any] = {
        "steps": options.steps,
        "guidance_scale": options.guidance,
        "order": options.order,
        "token_temperature": options.temperature,
        "score": options.score,
        "resolution": inputs.size,
    }
    if options.cache is not None:
        calls["speed"] = replace(preset.speed, cache=FeatureCache(options.cache))
    if inputs.image is not None:
        masked = inputs.mask is not None or inputs.margins is not None
        calls["strength"] = (None if masked else STRENGTH) if options.strength is None else options.strength
        if masked:
            calls |= {"dilate": options.dilate, "feather": options.feather}
    return {name: value for name, value in calls.items() if value is not None}


def _function(pipeline: TextToImage, inputs: InputImages) -> Callable[..., GenerationOutput]:
    """What generates without an image, over one, in it or around it."""
    from mimgen.pipelines import edit, inpaint, outpaint

    if inputs.image is None:
        return pipeline
    if inputs.margins is not None:
        return partial(outpaint, pipeline)
    return partial(edit if inputs.mask is None else inpaint, pipeline)


def _images(pipeline: TextToImage, inputs: InputImages, options: Arguments) -> tuple[Any, ...]:
    """Image, and mask or margins, as the functions of mimgen.pipelines take them."""
    from mimgen.pipelines.images import fitted, to_mask, to_tensor

    pil_image, mask = inputs.image, inputs.mask
    assert pil_image is not None
    own = (pil_image.height, pil_image.width)
    height, width = inputs.size or (own if inputs.margins is not None else pipeline.preset.resolution)
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
        pil_image = fitted(pil_image, height, width)
        mask = None if mask is None else fitted(mask, height, width, mask=True)
    image = to_tensor(pil_image)
    if inputs.margins is not None:
        return image, inputs.margins
    return (image,) if mask is None else (image, to_mask(mask))


def _fingerprint(options: Arguments) -> dict[str, Any]:
    """Model and images by what their files hold, where images may be added later to others."""
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

    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16] if files else ""


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
