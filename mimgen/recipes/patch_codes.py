"""A code for each patch of a run's images: from a tokenizer in a folder, or built from the images themselves."""

from __future__ import annotations

from mimgen.data import Dataset
from mimgen.errors import UserError
from mimgen.pipelines.parts import token_grid
from mimgen.recipes.data_config import DataConfig
from mimgen.tokenizers import CentroidTokenizer, Tokenizer, fit_centroids
from mimgen.tokenizers.open import load_tokenizer


def load_patch_codes(folder: str, data_config: DataConfig, patch: int) -> Tokenizer:
    """The tokenizer in `folder`.

    Raises:
        UserError: it has not one code for each patch of `patch` pixels per side.
    """
    codes = load_tokenizer(folder)
    rows, columns = token_grid(codes, data_config.size, data_config.size)
    if rows * patch != data_config.size or columns != rows:
        raise UserError(
            f"the tokenizer in {folder} has {rows} x {columns} codes an image of {data_config.size} px; patches of "
            f"{patch} px need one code each: pass another --tokenizer, or none"
        )
    return codes


def fit_patch_centroids(data_config: DataConfig, patch: int, codes: int, per_code: int) -> CentroidTokenizer:
    """`codes` centroids of the run's own patches, from `per_code` patches each.

    Raises:
        UserError: the images are a stream.
    """
    dataset = data_config.open()
    if not isinstance(dataset, Dataset):
        raise UserError(f"{dataset.name} is a stream: build centroids from a part on disk and pass --tokenizer")
    return fit_centroids(dataset, patch=patch, codebook_size=codes, per_code=per_code)
