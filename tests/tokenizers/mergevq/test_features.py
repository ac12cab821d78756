"""MergeVQ's encoder under the encoder contract, with and without merging."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.tokenizers.mergevq import MergeVQ, MergeVQEncoder


@pytest.fixture(scope="module", params=[None, 8])
def tokenizer(request: pytest.FixtureRequest) -> MergeVQ:
    """G+R with convolutions, and R on patches."""
    torch.manual_seed(0)
    return MergeVQ(
        16, 8, (1, 2), 1, bits=4, layers=3, heads=2, patch_width=request.param, keep=16, candidates=None
    ).eval()


def make_images(height: int = 16, width: int = 16) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_all_tokens_without_merging(tokenizer: MergeVQ) -> None:
    encoder = MergeVQEncoder(tokenizer)
    tokens = encoder(make_images(12, 16), layers=(0, 2))
    assert (encoder.depth, encoder.patch) == (3, 2)
    assert tokens.grid == (6, 8) and tokens.patches.shape == (2, 48, encoder.dim)
    assert tokens.prefix.shape == (2, 1, encoder.dim)
    assert torch.equal(tokens.levels[1], tokens.patches) and tokens.levels[0].shape == tokens.patches.shape
    merging = tokenizer.encoder(make_images(12, 16) * 2 - 1)
    assert torch.equal(tokens.prefix[:, 0], merging.class_token)


@torch.no_grad()
def test_merged_tokens_and_spread_ones(tokenizer: MergeVQ) -> None:
    few = MergeVQEncoder(tokenizer, 16)(make_images(), layers=(0, 2))
    assert few.patches.shape[1] == 16 and few.levels[0].shape[1] > 16 and few.levels[1].shape[1] == 16
    full = MergeVQEncoder(tokenizer, 16, unmerge=True)(make_images(), layers=(0,))
    assert full.patches.shape[1] == full.levels[0].shape[1] == 64
    sizes = tokenizer.merge(make_images(), 16).encoded.sizes[..., None]
    torch.testing.assert_close(full.patches.mean(1), (few.patches * sizes).sum(1) / 64, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_nothing_is_merged_when_all_are_kept(tokenizer: MergeVQ) -> None:
    plain, kept = MergeVQEncoder(tokenizer)(make_images()), MergeVQEncoder(tokenizer, 64)(make_images())
    assert torch.equal(plain.patches, kept.patches)


def test_wrong_input_names_the_fix(tokenizer: MergeVQ) -> None:
    with pytest.raises(UserError, match="blocks are 0 to 2"):
        MergeVQEncoder(tokenizer)(make_images(), layers=(3,))
    with pytest.raises(UserError, match="keep one of"):
        MergeVQEncoder(tokenizer, 20)(make_images())
    with pytest.raises(UserError, match="RGB"):
        MergeVQEncoder(tokenizer)(torch.rand(1, 1, 16, 16))
