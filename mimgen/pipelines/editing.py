"""Editing of images by a masked generator, without training for it: what is masked is generated anew.

`edit` masks a share of the tokens everywhere, `inpaint` those under a mask, `outpaint` those of a larger canvas
around the image. Tokens that are not masked stay bit for bit as they are. (Meissonic, section 4; MaskGIT,
section 4.3.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.pipelines.base import Pipeline
from mimgen.pipelines.output import GenerationOutput
from mimgen.pipelines.prompts import Request, image_seeds
from mimgen.pipelines.strength import masked_share
from mimgen.types import SampleRNG, mix_seed

__all__ = ["blended", "edit", "feathered", "inpaint", "outpaint", "tokens_under"]

ROUNDING = 1e-3  # by which an image that was generated or blended, at worst in half precision, may leave [0, 1]


@torch.no_grad()
def edit(
    pipeline: Pipeline,
    prompts: Sequence[Request],
    images: Tensor,
    *,
    strength: float = 0.6,
    seed: int | Sequence[int] = 0,
    images_per_prompt: int = 1,
    **options: Any,
) -> GenerationOutput:
    """Generate images again after a prompt, the nearer to the given ones the lower the strength (image to image).

    A share of the tokens, chosen at random for each seed, is masked: as many as the schedule has still masked
    when a part `strength` of it is left. The schedule continues from there.

    Args:
        pipeline: the model.
        prompts: captions, or what else the pipeline takes.
        images: [3, H, W] or [1, 3, H, W] for all images, or [P, 3, H, W], one per prompt; in [0, 1]. Their size is
            that of the result and divides into tokens.
        strength: part of the steps that are run, in (0, 1].
        seed: as for `Pipeline`.
        images_per_prompt: as for `Pipeline`.
        options: further arguments of `Pipeline`, fields of its preset included.

    Raises:
        UserError: images that do not fit, are bytes or leave [0, 1], or a strength outside (0, 1].
    """
    images = _batch(images, len(prompts))
    core = _sized(pipeline, images, options)
    seeds = image_seeds(seed, len(prompts), images_per_prompt)
    known = _repeated(core.encode(images), len(prompts), images_per_prompt)
    everywhere = torch.ones_like(known, dtype=torch.bool).expand(len(seeds), -1, -1)
    masked = _share_of(everywhere, masked_share(core.preset, strength), seeds)
    canvas = known.masked_fill(masked, core.transformer.mask_id)
    return core(
        prompts,
        seed=seeds,
        images_per_prompt=images_per_prompt,
        initial_tokens=canvas,
        strength=strength,
        **options,
    )


@torch.no_grad()
def inpaint(
    pipeline: Pipeline,
    prompts: Sequence[Request],
    images: Tensor,
    masks: Tensor,
    *,
    strength: float = 1.0,
    dilate: int = 1,
    feather: int | None = None,
    seed: int | Sequence[int] = 0,
    images_per_prompt: int = 1,
    **options: Any,
) -> GenerationOutput:
    """Generate anew what a mask covers and keep the rest.

    Args:
        pipeline: the model.
        prompts: captions of the whole image, not of the hole only.
        images: as for `edit`.
        masks: [H, W], or [1, H, W] or [P, H, W] like the images; true or above 0.5 where the image is generated anew.
        strength: below 1 a share of the tokens in the hole is kept, as in `edit`.
        dilate: tokens by which the hole grows on all sides: a tokenizer's ids know of what lies beside them, so
            those at the edge still show what is to go.
        feather: pixels outside the mask over which the new image fades into the given one, whose pixels stay
            bit for bit beyond; one token's side when None. 0 cuts at the mask's edge, -1 leaves the image
            as the tokenizer gives it back everywhere.
        seed: as for `Pipeline`.
        images_per_prompt: as for `Pipeline`.
        options: further arguments of `Pipeline`, fields of its preset included.

    Raises:
        UserError: as `edit`, masks that do not fit, a mask that covers nothing or everything, or a tokenizer whose
            ids have no place in the image.
    """
    images = _batch(images, len(prompts))
    core, masks = _sized(pipeline, images, options), _holes(masks, images, len(prompts))
    masked = tokens_under(masks, _side(core), dilate)
    if bool(masked.flatten(1).all(1).any()):
        raise UserError(f"the mask, {dilate} tokens wider, covers every token: dilate less or cover less")
    seeds = image_seeds(seed, len(prompts), images_per_prompt)
    masked = _repeated(masked, len(prompts), images_per_prompt).expand(len(seeds), -1, -1)
    known = _repeated(core.encode(images), len(prompts), images_per_prompt)
    masked = _share_of(masked, masked_share(core.preset, strength), seeds).to(known.device)
    canvas = known.masked_fill(masked, core.transformer.mask_id)
    output = core(
        prompts,
        seed=seeds,
        images_per_prompt=images_per_prompt,
        initial_tokens=canvas,
        strength=strength,
        **options,
    )
    if feather == -1:
        return output
    weight = feathered(masks, _side(core) if feather is None else feather)
    back = [_repeated(each, len(prompts), images_per_prompt) for each in (images, weight)]
    return replace(output, images=blended(output.images, *(each[: len(output.images)] for each in back)))


@torch.no_grad()
def outpaint(
    pipeline: Pipeline,
    prompts: Sequence[Request],
    images: Tensor,
    margins: tuple[int, int, int, int],
    **options: Any,
) -> GenerationOutput:
    """Generate what lies around an image.

    Args:
        pipeline: the model.
        prompts: captions of the whole image.
        images: as for `edit`.
        margins: pixels by which the image grows on the left, top, right and bottom: multiples of a token's side.
        options: further arguments of `inpaint`.

    Raises:
        UserError: as `inpaint`, or margins that add nothing or no whole tokens.
    """
    left, top, right, bottom = margins
    side = _side(pipeline)
    if min(margins) < 0 or max(margins) == 0 or any(margin % side for margin in margins):
        raise UserError(
            f"margins {left}, {top}, {right}, {bottom}: give pixels for left, top, right and bottom, at least one of "
            f"them above 0 and all of them multiples of {side}, the side of a token"
        )
    images = _batch(images, len(prompts))
    # what the border shows continues outside, so that the tokenizer does not see an edge where there is none
    grown = F.pad(images.float(), (left, right, top, bottom), mode="replicate")
    mask = torch.ones(1, *grown.shape[2:])
    mask[:, top : top + images.shape[2], left : left + images.shape[3]] = 0
    return inpaint(pipeline, prompts, grown, mask, **options)


def tokens_under(masks: Tensor, side: int, dilate: int = 1) -> Tensor:
    """Masks [B, H, W] (above 0.5 is covered) to [B, h, w], true for tokens with a covered pixel.

    Args:
        masks: numbers or booleans.
        side: pixels of a token.
        dilate: tokens by which the covered part grows in all eight directions.

    Raises:
        UserError: `dilate` below 0.
    """
    if dilate < 0:
        raise UserError(f"dilate={dilate}: give 0 or more tokens")
    covered = F.max_pool2d((masks[:, None] > 0.5).float(), side)
    return F.max_pool2d(covered, 2 * dilate + 1, stride=1, padding=dilate)[:, 0] > 0


def feathered(masks: Tensor, width: int) -> Tensor:
    """How much of the new image shows: [B, H, W], 1 under the mask, falling to 0 over `width` pixels outside.

    Raises:
        UserError: `width` below 0.
    """
    if width < 0:
        raise UserError(f"feather {width}: give 0 or more pixels, or -1 for no blending")
    weight = (masks[:, None] > 0.5).float()
    # wider by half the way, then the mean over as many pixels: 1 up to the edge, 0 from `width` on
    outer, inner = width // 2, width - width // 2
    weight = F.max_pool2d(weight, 2 * outer + 1, stride=1, padding=outer)
    padded = F.pad(weight, (inner,) * 4, mode="replicate") if inner else weight
    mean = F.avg_pool2d(padded, 2 * inner + 1, stride=1) if inner else padded
    return torch.where(masks[:, None] > 0.5, 1.0, mean)[:, 0]


def blended(images: Tensor, originals: Tensor, weight: Tensor) -> Tensor:
    """New images over given ones, [B, 3, H, W], by weights [B or 1, H, W]; at 0 and 1 bit for bit one of them."""
    weight = weight[:, None].to(images.device, images.dtype)
    return torch.lerp(originals.to(images.device, images.dtype), images, weight)


def _side(pipeline: Pipeline) -> int:
    """Pixels of a token."""
    if getattr(pipeline.vqvae, "grid", None) is not None:
        raise UserError(
            f"the ids of a {type(pipeline.vqvae).__name__} have no place in the image: a part of it cannot be "
            "generated anew; change the whole with `edit`"
        )
    return pipeline.vqvae.downsample


def _sized(pipeline: Pipeline, images: Tensor, options: dict[str, Any]) -> Pipeline:
    """The pipeline at the size of the images, with the options that are of its preset, which are taken out."""
    height, width = images.shape[-2:]
    resolution = options.pop("resolution", (height, width))
    if tuple(resolution) != (height, width):
        raise UserError(
            f"a resolution of {resolution[0]} x {resolution[1]} with an image of {height} x {width} (height "
            f"x width): scale "
            "the image, or leave the resolution out"
        )
    fields = {name: options.pop(name) for name in list(options) if name in pipeline.preset.__dataclass_fields__}
    return pipeline.changed(resolution=(height, width), **fields)


def _batch(images: Tensor, prompts: int) -> Tensor:
    """[1 or P, 3, H, W], checked."""
    if images.ndim not in (3, 4) or images.shape[-3] != 3 or not images.numel():
        raise UserError(f"images must be [3, H, W] or [B, 3, H, W], got {list(images.shape)}")
    images = images if images.ndim == 4 else images[None]
    if len(images) not in (1, prompts):
        raise UserError(f"{len(images)} images for {prompts} prompts: give one image, or one for each prompt")
    if not images.is_floating_point():
        raise UserError(f"images of {images.dtype}: give numbers in [0, 1], as of images.float() / 255")
    low, high = (float(edge) for edge in images.aminmax())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise UserError(
            f"images with values from {low:g} to {high:g}: give numbers in [0, 1], as of images / 255 where they are "
            "bytes, (images + 1) / 2 where they lie in [-1, 1], or images.clamp(0, 1) behind a scaling that overshoots"
        )
    return images


def _holes(masks: Tensor, images: Tensor, prompts: int) -> Tensor:
    """[1 or P, H, W] numbers, checked."""
    masks = masks if masks.ndim == 3 else masks[None]
    size = images.shape[-2:]
    if masks.ndim != 3 or masks.shape[1:] != size or len(masks) not in (1, prompts):
        raise UserError(
            f"a mask of shape {list(masks.shape)} for images of {size[0]} x {size[1]} (height x width): mask and "
            "image must have one size"
        )
    share = (masks > 0.5).flatten(1).float().mean(1)
    if float(share.min()) == 0:
        raise UserError("the mask covers nothing: make white what is to be generated anew")
    if float(share.max()) == 1:
        raise UserError("the mask covers the whole image: leave some of it black, or generate without an image")
    return masks.float()


def _repeated(rows: Tensor, prompts: int, times: int) -> Tensor:
    """[1, ...] as it is, [P, ...] with each row `times` times."""
    return rows if len(rows) == 1 and prompts * times != 1 else rows.repeat_interleave(times, dim=0)


def _share_of(masked: Tensor, share: float, seeds: Sequence[int]) -> Tensor:
    """[B, h, w]: of what is true in each row a random `share`, at least one."""
    if share == 1:
        return masked
    flat = masked.flatten(1)
    noise = SampleRNG([mix_seed(seed, "hidden") for seed in seeds]).uniform(flat.shape[1]).to(masked.device)
    counts = (flat.sum(1) * share).round().long().clamp(min=1)
    ranks = noise.masked_fill(~flat, -1.0).argsort(dim=1, descending=True, stable=True).argsort(1)
    return (ranks < counts[:, None]).view_as(masked)
