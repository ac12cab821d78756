"""Building a `CentroidTokenizer`: k-means over patches sampled from a data set, in seconds."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.data import Dataset
from mimgen.errors import UserError
from mimgen.tokenizers.centroids import CentroidTokenizer
from mimgen.tokenizers.kmeans import kmeans


def fit_centroids(
    dataset: Dataset,
    *,
    patch: int = 16,
    codebook_size: int = 8192,
    iterations: int = 20,
    per_code: int = 256,
    images: int = 50_000,
    seed: int = 1,
    device: torch.device | str = "cpu",
) -> CentroidTokenizer:
    """k-means of raw patches in plain squared distance (CCViT, section 3.1); the same for the same seed.

    Args:
        dataset: images of sides that `patch` divides.
        patch: side of a patch in pixels.
        codebook_size: number K of centroids.
        iterations: rounds of k-means.
        per_code: patches sampled for each centroid; more hardly move it.
        images: at most so many are read, evenly sampled.
        seed: of the random numbers.
        device: where distances are computed.

    Returns:
        The tokenizer, on the CPU.

    Raises:
        UserError: no images, sides that do not divide, or fewer distinct patches than centroids.
    """
    generator = torch.Generator().manual_seed(seed)
    sampled = sample_patches(dataset, patch, per_code * codebook_size, images, generator)
    # Drawings repeat the same patch thousands of times: counted once each, with its number as the weight.
    rows, counts = torch.unique(sampled, dim=0, return_counts=True)
    if len(rows) < codebook_size:
        raise UserError(
            f"{dataset.name} gave {len(rows)} distinct patches of {patch} pixels for {codebook_size} centroids: "
            f"choose a codebook of at most {len(rows)}, or give more images"
        )
    initial = rows[torch.randperm(len(rows), generator=generator)[:codebook_size]]
    centres = kmeans(rows.to(device), initial.to(device), iterations, weights=counts.to(device))
    return CentroidTokenizer.from_centroids(centres.cpu() / 255)


def sample_patches(
    dataset: Dataset, patch: int, count: int, images: int, generator: torch.Generator
) -> Tensor:
    """About `count` patches, the same number at random positions of each image.

    Returns:
        [n, 3 patch^2] uint8, channel first; fewer than `count` where the images have no more.
    """
    if not len(dataset):
        raise UserError(f"{dataset.name} holds no images; check the split and the folder")
    chosen = torch.randperm(len(dataset), generator=generator)[:images].tolist()
    each = -(-count // len(chosen))  # rounded up
    return torch.cat([_some(dataset[index].image, patch, each, generator) for index in chosen])


def _some(image: Tensor, patch: int, count: int, generator: torch.Generator) -> Tensor:
    """Up to `count` patches [n, 3 patch^2] of an image [3, H, W] uint8."""
    height, width = image.shape[-2:]
    if height % patch or width % patch:
        raise UserError(
            f"images of {width} x {height} do not divide into patches of {patch} pixels: choose another size"
        )
    patches = F.pixel_unshuffle(image[None], patch)[0].flatten(1).T  # [h w, 3 patch^2]
    return patches[torch.randperm(len(patches), generator=generator)[:count]]
