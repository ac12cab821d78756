"""Images of several shapes with as many tokens each; a batch holds one shape.

A square crop cuts heads and feet off people who stand. With a few shapes of equal token count every image
keeps nearly all of itself and a step costs the same whatever its shape (NovelAI's aspect ratio bucketing, 2022).
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from mimgen.data.contract import DerivedDataset, Sample
from mimgen.data.loader import Loader
from mimgen.data.sources.images import ImageDataset
from mimgen.data.sources.listing import Listing, digest
from mimgen.data.transforms.resize import Cut, Rectangle, Transform
from mimgen.errors import UserError
from mimgen.types import mix_seed

__all__ = ["BucketLoader", "BucketedCodes", "BucketedImages", "bucket_shapes", "bucketed_codes"]

Shape = tuple[int, int]  # height and width in pixels

MIN_FULL = 0.9  # share of the square's tokens that another shape has at least
SMALLEST, LONGEST = 8, 4096  # steps of the smallest bucket in a round, and steps of a round, nearly at most
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap the sides


def bucket_shapes(side: int, stride: int, widest: float = 2.0) -> tuple[Shape, ...]:
    """Shapes of at most as many tokens as the square of `side`, and at least 90 % of them; the widest last.

    Args:
        side: of the square, in pixels.
        stride: pixels that one token of the generator's trunk covers along a side; every side is a multiple.
        widest: largest ratio of the sides.

    Raises:
        UserError: the square does not divide into tokens.
    """
    if stride < 1 or side < stride or side % stride:
        raise UserError(f"a side of {side} px does not divide into cells of {stride} px: choose a multiple of {stride}")
    if widest < 1:
        raise UserError(f"widest {widest:g}: the ratio of the longer side to the shorter is at least 1")
    count = side // stride
    wide: dict[int, int] = {}
    for rows in range(1, count + 1):  # ascending: of several heights of one width the fullest is kept
        columns = count**2 // rows
        if columns <= widest * rows and rows * columns >= MIN_FULL * count**2:
            wide[columns * stride] = rows * stride
    shapes = {shape for width, height in wide.items() for shape in ((height, width), (width, height))}
    return tuple(sorted(shapes, key=_aspect))


def nearest(shapes: Sequence[Shape], width: int, height: int) -> int:
    """Index of the shape whose aspect is nearest to that of an image, by the ratio of both."""
    wanted = math.log(width / height)
    return min(range(len(shapes)), key=lambda index: abs(math.log(_aspect(shapes[index])) - wanted))


def settle(shapes: Sequence[Shape], sides: Sequence[tuple[int, int]], minimum: int) -> list[int]:
    """Index of the shape of each image: the nearest, of those that enough images take.

    The shape with the fewest images is given up, and each of them goes to the nearest shape that is left, until
    every shape has `minimum` or one shape is left.

    Args:
        shapes: (height, width) of each bucket.
        sides: (width, height) of each image.
        minimum: images of a bucket.
    """
    chosen = [nearest(shapes, *each) for each in sides]
    members: dict[int, list[int]] = {}
    for image, shape in enumerate(chosen):
        members.setdefault(shape, []).append(image)
    while len(members) > 1:
        fewest = min(members, key=lambda shape: (len(members[shape]), shape))
        if len(members[fewest]) >= minimum:
            break
        given_up, left = members.pop(fewest), sorted(members)
        for image in given_up:
            chosen[image] = left[nearest([shapes[shape] for shape in left], *sides[image])]
            members[chosen[image]].append(image)
    return chosen


class BucketedImages(ImageDataset):
    """One's own images, each resized and cropped to the shape of its bucket.

    The sides of every image are read from its header once. The micro-conditions hold the size of the original
    and the crop, as of squares. A bucket holds at least `minimum` images, and one in LONGEST of all: the others go
    into the nearest that does, so that none is sampled much more often than the rest (see `BucketLoader`).

    Args:
        listing: what there is.
        shapes: (height, width) in pixels of each bucket.
        minimum: images of a bucket; of half a batch, a batch shows each about twice at most.
        random_crop, flip: as of `Transform`.
    """

    def __init__(
        self,
        listing: Listing,
        shapes: Sequence[Shape],
        *,
        minimum: int = 1,
        random_crop: bool = False,
        flip: bool = False,
    ) -> None:
        self.shapes = tuple(shapes)
        count = len(listing.keys)
        minimum = max(minimum, -(-count // LONGEST))
        self.buckets = settle(self.shapes, [_sides(listing, index) for index in range(count)], minimum)
        self._cuts = [Rectangle(height, width, random_crop, flip) for height, width in self.shapes]
        # squares where nobody asks for a shape; only its flags are read
        super().__init__(listing, Transform(max(map(max, self.shapes)), random_crop=random_crop, flip=flip))
        self.fingerprint = digest([listing.digest, *self._cuts, minimum])

    def _transform(self, index: int) -> Cut:
        return self._cuts[self.buckets[index]]


@dataclass(frozen=True)
class BucketedCodes(DerivedDataset):
    """Bucketed images with token ids beside them.

    Attributes:
        dataset: the images.
        codes: [h, w] int64 of each image, in the shape of its bucket.
    """

    dataset: BucketedImages
    codes: Sequence[Tensor]

    @property
    def buckets(self) -> list[int]:
        """The bucket of each image."""
        return self.dataset.buckets

    def __getitem__(self, index: int) -> Sample:
        return replace(self.dataset[index], codes=self.codes[index])


def bucketed_codes(
    dataset: BucketedImages, encode: Callable[[Tensor], Tensor], batch_size: int = 64
) -> BucketedCodes:
    """The ids of every image, kept in memory.

    Args:
        dataset: not cropped or flipped at random.
        encode: images [b, 3, H, W] in [0, 1] to ids [b, h, w].
        batch_size: images of one shape at a time.
    """
    codes: dict[int, Tensor] = {}
    for bucket in range(len(dataset.shapes)):
        members = [index for index, own in enumerate(dataset.buckets) if own == bucket]
        for start in range(0, len(members), batch_size):
            rows = members[start : start + batch_size]
            images = torch.stack([dataset[index].image for index in rows]).float() / 255
            codes |= zip(rows, encode(images), strict=True)
    return BucketedCodes(dataset, [codes[index] for index in range(len(dataset))])


class BucketLoader(Loader):
    """Batches of one shape each, in an order that is a pure function of (seed, step).

    Each bucket is read as `Loader` reads a set: shuffled epochs that follow each other without a gap, so no image is
    dropped. Which bucket a step takes is shuffled within rounds in which every bucket has its share of the steps, to
    the nearest step and at least one. Of buckets that each hold one in LONGEST of all images, as `BucketedImages`
    makes them, every image is sampled at least half and at most one and a half times as often as on average.

    Args:
        dataset: has `buckets`, one index per image.
        batch_size: GLOBAL batch size, over all ranks and accumulated micro-batches.
        seed: of the order, of random crops and of `Batch.rng`.
        prefetch: steps prepared ahead in a thread; 0 reads when asked. Never changes the order.
    """

    def __init__(
        self, dataset: BucketedImages | BucketedCodes, batch_size: int, seed: int, *, prefetch: int = 2
    ) -> None:
        super().__init__(dataset, batch_size, seed, prefetch=prefetch)
        self._members: dict[int, list[int]] = {}
        for index, bucket in enumerate(dataset.buckets):
            self._members.setdefault(bucket, []).append(index)
        self._round = lru_cache(maxsize=2)(self._shuffled_round)
        # a batch may reach over many epochs of a small bucket
        self._within = lru_cache(maxsize=4 * len(self._members))(self._bucket_order)

    @cached_property
    def _share(self) -> dict[int, int]:
        """Steps of each bucket in a round."""
        sizes = {bucket: len(rows) for bucket, rows in sorted(self._members.items())}
        times = min(SMALLEST / min(sizes.values()), LONGEST / sum(sizes.values()))
        return {bucket: max(1, round(times * size)) for bucket, size in sizes.items()}

    def indices(self, step: int) -> list[int]:
        """The `batch_size` samples of step `step`, all of one bucket."""
        rounds, position = divmod(step, sum(self._share.values()))
        order = self._round(rounds)
        bucket = order[position]
        earlier = rounds * self._share[bucket] + Counter(order[:position])[bucket]
        members, start = self._members[bucket], earlier * self.batch_size
        positions = (divmod(at, len(members)) for at in range(start, start + self.batch_size))
        return [self._within(bucket, epoch)[index] for epoch, index in positions]

    def _shuffled_round(self, number: int) -> list[int]:
        order = [bucket for bucket, times in self._share.items() for _ in range(times)]
        generator = torch.Generator().manual_seed(mix_seed(self.seed, "round", number))
        return [order[position] for position in torch.randperm(len(order), generator=generator).tolist()]

    def _bucket_order(self, bucket: int, epoch: int) -> list[int]:
        members = self._members[bucket]
        generator = torch.Generator().manual_seed(mix_seed(self.seed, "bucket", bucket, epoch))
        return [members[position] for position in torch.randperm(len(members), generator=generator).tolist()]


def _sides(listing: Listing, index: int) -> tuple[int, int]:
    """Width and height of an image as it is displayed."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(listing.read(index))) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112) in TURNED
    except Exception:  # any bytes may lie there; the image is counted as corrupt when it is read
        return 1, 1
    return (height, width) if turned else (width, height)


def _aspect(shape: Shape) -> float:
    height, width = shape
    return width / height
