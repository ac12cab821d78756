"""The images of a generator's run, as their token ids."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from torch import nn

from mimgen.data import Dataset, ImageDataset, StreamedDataset, with_codes
from mimgen.data.cache.codes import codes_of, key_of
from mimgen.data.cache.codes_folder import open_codes
from mimgen.data.transforms.buckets import BucketedImages, bucket_shapes, bucketed_codes
from mimgen.errors import UserError
from mimgen.pipelines.parts import token_grid
from mimgen.recipes.tokenizers import encoder_of, tokenize
from mimgen.tokenizers import Tokenizer

Data = Dataset | StreamedDataset


def square_grid(tokenizer: Tokenizer, side: int) -> int:
    """Rows, as many as columns, of the ids of a square image of `side` pixels.

    Raises:
        UserError: the ids do not lie on a square grid, as those of 1-D tokenizers.
    """
    rows, columns = token_grid(tokenizer, side, side)
    if rows != columns:
        raise UserError(
            f"a {type(tokenizer).__name__} gives {rows} x {columns} ids, and this generator needs a square grid: pass "
            "another --tokenizer, or train titok_maskgit"
        )
    return rows


def check_has_scores(dataset: Data) -> None:
    """Refuse data on disk that tell no preference scores; of a stream they are not known beforehand.

    Raises:
        UserError: no scores.
    """
    if isinstance(dataset, Dataset) and not getattr(dataset, "has_scores", False):
        raise UserError(
            f"{dataset.name} tells no preference scores, which this size trains with: give each image a number "
            '"score", in metadata.jsonl, in the .json of shards or as a column'
        )


def bucketed(
    dataset: Data, tokenizer: Tokenizer, side: int, cell: int, *, flips: bool, minimum: int
) -> BucketedImages:
    """The images in shapes of as many tokens as the square has.

    Args:
        dataset: one's own images.
        tokenizer: what they are turned into tokens with.
        side: of the square in pixels.
        cell: tokens that the generator's trunk takes together along a side, 1 or 2.
        flips: mirror half of the images, generated anew for each sample.
        minimum: images that a shape needs to be one of them; see `BucketedImages`.

    Raises:
        UserError: images that have one shape, or a tokenizer that has one grid.
    """
    if not isinstance(dataset, ImageDataset):
        raise UserError(f"{dataset.name} cannot be put into buckets: leave out --buckets, or pass your own images")
    if getattr(tokenizer, "grid", None) is not None:
        raise UserError(f"a {type(tokenizer).__name__} reads squares only: leave out --buckets")
    shapes = bucket_shapes(side, cell * tokenizer.downsample)
    return BucketedImages(dataset.listing, shapes, minimum=minimum, flip=flips)


def coded(
    dataset: Data, tokenizer: Tokenizer, *, spec: str, size: int, codes: str | None, flips: bool
) -> Data:
    """The data with ids: from the cache, or computed here and kept in memory.

    Args:
        dataset: the images.
        tokenizer: what makes the ids.
        spec: what the user called the data.
        size: side of the images.
        codes: folder of `mimgen data cache-codes`; None to compute them.
        flips: mirror half of the images, generated anew for each sample.

    Raises:
        UserError: a stream, or images that must not be flipped, or cached ids of something else.
    """
    if not isinstance(dataset, Dataset):
        if codes or flips:
            raise UserError(f"{dataset.name} is a stream: leave out --codes and --flips, or keep the data on disk")
        return dataset
    if isinstance(dataset, BucketedImages):
        if codes is not None:
            raise UserError("cached codes are of squares: leave out --codes or --buckets")
        return dataset if dataset.augments else bucketed_codes(dataset, encoder_of(tokenizer))
    if flips and spec == "emoji":
        raise UserError("emoji are not flipped: clocks, flags and arrows would change; leave out --flips")
    if codes is not None:
        key = key_of(dataset, size, cast(nn.Module, tokenizer))
        return open_codes(Path(codes), dataset, key, flip=flips)
    if flips:
        return codes_of(dataset, encoder_of(tokenizer), flip=True)
    if getattr(dataset, "augments", False):
        return dataset
    return with_codes(dataset, tokenize(dataset, tokenizer))
