"""Centroids: layout of patches, round trip, fitting."""

import pytest
import torch
import torch.nn.functional as F

from mimgen.data import MemoryDataset
from mimgen.errors import UserError
from mimgen.tokenizers.centroid_fit import fit_centroids
from mimgen.tokenizers.centroids import CentroidTokenizer


def dataset(count=30, side=16, grey=None):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, side // 4, side // 4), generator=generator, dtype=torch.uint8)
    images = F.interpolate(images.float(), (side, side), mode="bilinear").to(torch.uint8)
    if grey is not None:
        images[:] = grey
    names = [str(i) for i in range(count)]
    return MemoryDataset("squares", "1", images, [""] * count, names)


def test_every_centroid_is_its_own_code():
    tokenizer = CentroidTokenizer(4, 40)
    ids = torch.arange(40).view(1, 5, 8)
    assert torch.equal(tokenizer.encode(tokenizer.decode(ids)).indices, ids)


def test_patches_are_channel_first():
    """An asymmetric patch: one number differs, and it must differ at the same place everywhere."""
    centroids = torch.zeros(2, 3 * 4)
    centroids[1, 1 * 4 + 0 * 2 + 1] = 1.0
    tokenizer = CentroidTokenizer.from_centroids(centroids)
    image = torch.zeros(1, 3, 4, 2)
    image[0, 1, 2, 1] = 0.9
    codes = tokenizer.encode(image)
    assert codes.indices.flatten().tolist() == [0, 1]
    decoded = tokenizer.decode(codes)
    assert decoded[0, 1, 2, 1] == 1
    assert decoded.sum() == 1


def test_fit_is_quick_deterministic_and_better_than_its_start():
    data = dataset()
    images = torch.stack([data[i].image for i in range(len(data))]).float() / 255

    def error(**options):
        tokenizer = fit_centroids(data, patch=4, codebook_size=16, per_code=64, **options)
        return tokenizer, float((tokenizer.decode(tokenizer.encode(images)) - images).square().mean())

    first, fitted = error(iterations=10)
    again, _ = error(iterations=10)
    assert torch.equal(first.centroids, again.centroids)
    assert fitted < 0.9 * error(iterations=0)[1]
    assert not torch.equal(error(iterations=10, seed=2)[0].centroids, first.centroids)
    assert len(first.encode(images).indices.unique()) == 16
    assert 0 <= first.centroids.min() <= first.centroids.max() <= 1


def test_saved_centroids_come_back(tmp_path):
    tokenizer = fit_centroids(dataset(), patch=4, codebook_size=8, per_code=16)
    tokenizer.save_pretrained(tmp_path)
    again = CentroidTokenizer.from_pretrained(tmp_path)
    assert torch.equal(again.centroids, tokenizer.centroids)
    assert again.device.type == "cpu"
    assert again.dtype == torch.float32


def test_mistakes_are_named():
    with pytest.raises(UserError, match="codebook of at most 1"):
        fit_centroids(dataset(grey=7), patch=4, codebook_size=8)
    with pytest.raises(UserError, match="patches of 5"):
        fit_centroids(dataset(), patch=5, codebook_size=8)
    with pytest.raises(UserError, match="square RGB"):
        CentroidTokenizer.from_centroids(torch.zeros(4, 10))
    with pytest.raises(UserError, match="another tokenizer"):
        CentroidTokenizer(4, 8).decode(torch.full((1, 2, 2), 8))
