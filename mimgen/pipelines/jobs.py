"""From a request to a function that generates, without an image, over one, in it or around it, and to files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.errors import UserError
from mimgen.pipelines.open import find_pipeline
from mimgen.pipelines.request import GenerationRequest, InputImages
from mimgen.pipelines.saving import Folder, GenerationJob, save_image

if TYPE_CHECKING:
    from torch import Tensor

    from mimgen.pipelines.base import Pipeline
    from mimgen.pipelines.output import GenerationOutput
    from mimgen.pipelines.presets import Preset
    from mimgen.pipelines.previews import Preview

__all__ = ["ImageGenerator", "image_generator", "write_grid", "write_images"]

STRENGTH = 0.6  # of an edit without a mask


@dataclass(frozen=True)
class ImageGenerator:
    """Generates the images of jobs.

    Attributes:
        generate: the pipeline, or what changes images with it.
        inputs: arguments that come behind the prompts: images, masks, margins.
        options: further arguments of each call.
        preview: folder for previews, or None.
        every: steps from one preview to the next.
        settings: what decides how the images look, besides the jobs.
        note: what a reader must be told, such as that an input image was scaled; or None.
    """

    generate: Callable[..., GenerationOutput]
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    preview: Path | None
    every: int
    settings: dict[str, Any]
    note: str | None = None

    def __call__(self, jobs: Sequence[GenerationJob]) -> Tensor:
        """[b, 3, H, W] in [0, 1], one image per job."""
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


def image_generator(pipeline: Pipeline, inputs: InputImages, options: GenerationRequest) -> ImageGenerator:
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
    note = None
    if inputs.image is not None:
        arguments, note = _images(pipeline, inputs, options)
        calls.pop("resolution", None)  # the image has it
    _ = changed.grid  # a size that does not divide is refused before anything is written
    generate = _function(pipeline, inputs)
    return ImageGenerator(generate, arguments, calls, options.preview, options.preview_every, settings, note)


def write_grid(generate: ImageGenerator, jobs: Sequence[GenerationJob], columns: int, batch: int) -> Path:
    """All images side by side in the one file that the jobs name, `columns` in a row; the path of the file."""
    import torch

    from mimgen.ops.tiling import tile

    parts = [generate(jobs[first : first + batch]) for first in range(0, len(jobs), batch)]
    save_image(tile(torch.cat(parts), columns), jobs[0].path)
    return jobs[0].path


def write_images(
    generate: ImageGenerator, jobs: Sequence[GenerationJob], batch: int, folder: Folder | None = None
) -> Iterator[GenerationJob]:
    """Generate and write a file each, batch by batch, and note it in `folder`; yields every job that is done."""
    for first in range(0, len(jobs), batch):
        part = jobs[first : first + batch]
        for job, image in zip(part, generate(part), strict=True):
            save_image(image, job.path)
            if folder is not None:
                folder.note(job)
            yield job


def _calls(preset: Preset, inputs: InputImages, options: GenerationRequest) -> dict[str, Any]:
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


def _function(pipeline: Pipeline, inputs: InputImages) -> Callable[..., GenerationOutput]:
    """What generates without an image, over one, in it or around it."""
    from mimgen.pipelines.editing import edit, inpaint, outpaint

    if inputs.image is None:
        return pipeline
    if inputs.margins is not None:
        return partial(outpaint, pipeline)
    return partial(edit if inputs.mask is None else inpaint, pipeline)


def _images(
    pipeline: Pipeline, inputs: InputImages, options: GenerationRequest
) -> tuple[tuple[Any, ...], str | None]:
    """Image, and mask or margins, as the functions of mimgen.pipelines take them, and a note where they were scaled."""
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
    note = None
    if (height, width) != own:
        note = f"{options.image}: {own[1]} x {own[0]} px scaled and cut to {width} x {height}"
        pil_image = fitted(pil_image, height, width)
        mask = None if mask is None else fitted(mask, height, width, mask=True)
    image = to_tensor(pil_image)
    if inputs.margins is not None:
        return (image, inputs.margins), note
    return ((image,) if mask is None else (image, to_mask(mask))), note


def _fingerprint(options: GenerationRequest) -> dict[str, Any]:
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
