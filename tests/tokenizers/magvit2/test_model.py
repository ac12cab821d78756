"""Open-MAGVIT2: shapes, bit order, gradients and clear errors."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.tokenizers.contract import Tokenizer
from mimgen.tokenizers.magvit2.layers import AdaptiveGroupNorm, Upsample
from mimgen.tokenizers.magvit2.model import OpenMagvit2


@pytest.fixture(scope="module")
def tokenizer() -> OpenMagvit2:
    torch.manual_seed(0)
    return OpenMagvit2(channels=8, multipliers=(1, 2, 2), blocks=(1, 1, 0), bits=5).eval()


def make_images(height: int = 16, width: int = 24) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_round_trip(tokenizer: OpenMagvit2) -> None:
    assert isinstance(tokenizer, Tokenizer) and tokenizer.codebook_size == 32 and tokenizer.downsample == 4
    codes = tokenizer.encode(make_images())
    assert codes.indices is not None and codes.indices.shape == (2, 4, 6)
    made = tokenizer.decode(codes.indices)
    assert made.shape == (2, 3, 16, 24) and made.min() >= 0 and made.max() <= 1
    torch.testing.assert_close(made, tokenizer.decode(codes))


@torch.no_grad()
def test_channel_j_is_bit_j(tokenizer: OpenMagvit2) -> None:
    codes = tokenizer.encode(make_images())
    bits = 2 ** torch.arange(5)[:, None, None]
    assert torch.equal(((codes.latents > 0) * bits).sum(1), codes.indices)


@torch.no_grad()
def test_upsampling_puts_blocks_of_channels_into_places() -> None:
    layer = Upsample(2)
    torch.nn.init.zeros_(layer.conv1.weight)
    layer.conv1.bias.copy_(torch.arange(8.0))
    made = layer(torch.zeros(1, 2, 1, 1))
    assert torch.equal(made[0, 0], torch.tensor([[0.0, 2.0], [4.0, 6.0]]))
    assert torch.equal(made[0, 1], torch.tensor([[1.0, 3.0], [5.0, 7.0]]))


@torch.no_grad()
def test_adaptive_norm_is_finite_on_one_position() -> None:
    made = AdaptiveGroupNorm(3, 4)(torch.rand(2, 4, 4, 4), torch.rand(2, 3, 1, 1))
    assert torch.isfinite(made).all()


def test_training_reaches_every_weight(tokenizer: OpenMagvit2) -> None:
    tokenizer.train()
    made, codes = tokenizer(make_images())
    (made.square().mean() + sum(codes.losses.values())).backward()
    assert tokenizer.last_layer.grad is not None
    assert not [name for name, p in tokenizer.named_parameters() if p.grad is None]
    tokenizer.eval().zero_grad()


def test_wrong_input_names_the_fix(tokenizer: OpenMagvit2) -> None:
    with pytest.raises(UserError, match="multiples of 4"):
        tokenizer.encode(make_images(18))
    with pytest.raises(UserError, match="another tokenizer"):
        tokenizer.decode(torch.full((1, 2, 2), 32))
    with pytest.raises(UserError, match="one of each level"):
        OpenMagvit2(8, (1, 2), (1, 1, 1))
    with pytest.raises(UserError, match="give it a block"):
        OpenMagvit2(8, (1, 2), (1, 0))
