"""What iBOT and the systems on it share: crops of an image, a student and its head."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mimgen.data.transforms.views import MultiCrop
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.ibot.head import PrototypeHead


@dataclass(frozen=True, kw_only=True)
class CropSize:
    """Numbers of one size of self-distillation from crops.

    Crops have `crop` and `small_crop` pixels, cut from images of `pixels`; `small` is the number of small ones.
    The temperature of patches rises for `rise` steps, and prototypes do not move for `freeze`.
    """

    pixels: int
    crop: int
    small_crop: int
    small: int
    patch: int
    width: int
    depth: int
    heads: int
    prototypes: int
    hidden: int
    bottleneck: int
    fixed_gain: bool
    drop_path: float
    blur: float
    batch: int
    base_lr: float
    warmup: int
    rise: int
    freeze: int
    steps: int


def student_of(size: CropSize) -> VitEncoder:
    """A fresh encoder of a size."""
    return VitEncoder(
        size.crop, size.patch, size.width, size.depth, size.heads, drop_path=size.drop_path, mask_token="replace",
        mask_token_std=0.0,
    )  # fmt: skip


def head_of(size: CropSize, *, separate: bool = False) -> PrototypeHead:
    """A fresh head of a size; `separate` gives patches prototypes of their own."""
    return PrototypeHead(
        size.width,
        size.prototypes,
        size.prototypes if separate else None,
        size.hidden,
        size.bottleneck,
        fixed_gain=size.fixed_gain,
    )


def views_of(size: CropSize, small: int, colours: bool) -> MultiCrop:
    """The crops of a size; without small ones a large one may show less of the image."""
    views = MultiCrop(size.crop, size.small_crop, small=small, large_scale=(0.25 if small else 0.14, 1.0))
    changes = tuple(replace(change, sigma=(0.1, size.blur)) for change in views.colours) if colours else ()
    return replace(views, colours=changes)
