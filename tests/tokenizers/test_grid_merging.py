"""The merge-free MergeVQ: cells of a grid instead of merged tokens, everything else alike."""

from __future__ import annotations

import pytest
import torch

from mimgen.errors import UserError
from mimgen.tokenizers.grid_merging import GridBlocks, on_a_grid, raster
from mimgen.tokenizers.mergevq import MergeVQ


def toy() -> MergeVQ:
    torch.manual_seed(0)
    return MergeVQ(32, 8, (1, 1, 2), 1, bits=6, layers=2, heads=2, keep=36, candidates=None, rep_dim=8).eval()


def test_cells_are_blocks_of_positions() -> None:
    assert raster(4, 16).view(4, 4).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert raster(25, 64).unique().tolist() == list(range(25))
    assert torch.equal(raster(9, 9), torch.arange(9))
    with pytest.raises(UserError, match="squares"):
        raster(8, 64)
    with pytest.raises(UserError, match="squares"):
        raster(81, 64)


def test_codes_are_one_for_each_cell() -> None:
    tokenizer = on_a_grid(toy())
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    codes = tokenizer.encode(images, keep=16)
    assert codes.source is not None and codes.source.shape == (2, 16, 64)
    assert torch.equal(codes.source[0].int().argmax(0), raster(16, 64))
    assert codes.indices is not None
    for row in codes.indices.flatten(1):
        assert all(len(row[raster(16, 64) == cell].unique()) == 1 for cell in range(16))
    assert tokenizer.decode(codes).shape == images.shape


def test_tokens_are_means_over_cells() -> None:
    tokenizer = on_a_grid(toy())
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    full = tokenizer.merge(images, keep=64).encoded.tokens[0, 1:]
    pooled = tokenizer.merge(images, keep=16).encoded
    assert torch.allclose(pooled.tokens[0, 1:][5], full[raster(16, 64) == 5].mean(0), atol=1e-5)
    assert pooled.sizes.tolist() == [[4.0] * 16]
    assert torch.equal(pooled.class_token, tokenizer.merge(images, keep=64).encoded.class_token)


def test_weights_and_state_dict_are_the_same() -> None:
    merging, grid = toy(), on_a_grid(toy())
    assert list(merging.state_dict()) == list(grid.state_dict())
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    ours, theirs = (tokenizer.encode(images, keep=64) for tokenizer in (grid, merging))
    assert torch.equal(ours.indices, theirs.indices)
    assert not torch.equal(grid.encode(images, keep=36).source, merging.encode(images, keep=36).source)
    assert isinstance(on_a_grid(grid).encoder.attn, GridBlocks)
