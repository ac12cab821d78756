"""A code for each patch of a run's pictures: from a tokenizer in a folder, or built from the pictures themselves."""

from __future__ import annotations

from mimgen.data import Dataset
from mimgen.errors import UserError
from mimgen.pipelines.parts import token_grid
from mimgen.recipes.pictures import Pictures
from mimgen.recipes.tokenizers import DiscreteTokenizer, load_tokenizer
from mimgen.tokenizers import CentroidTokenizer, fit_centroids


def load_patch_codes(folder: str, pictures: Pictures, patch: int) -> DiscreteTokenizer:
    """The tokenizer in `folder`.

    Raises:
        UserError: it has not one code for each patch of `patch` pixels a side.
    """
    codes = load_tokenizer(folder)
    rows, columns = token_grid(codes, pictures.size, pictures.size)
    if rows * patch != pictures.size or columns != rows:
        raise UserError(
            f"the tokenizer in {folder} has {rows} x {columns} codes a picture of {pictures.size} px; patches of "
            f"{patch} px need one code each: pass another --tokenizer, or none"
        )
    return codes


def fit_patch_centroids(pictures: Pictures, patch: int, codes: int, per_code: int) -> CentroidTokenizer:
    """`codes` centroids of the run's own patches, from `per_code` patches each.

    Raises:
        UserError: the pictures are a stream.
    """
    dataset = pictures.open()
    if not isinstance(dataset, Dataset):
        raise UserError(f"{dataset.name} is a stream: build centroids from a part on disk and pass --tokenizer")
    return fit_centroids(dataset, patch=patch, codebook_size=codes, per_code=per_code)
