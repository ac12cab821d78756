"""A tokenizer seen as an encoder: the shapes of the contract, and labels that a probe can read."""

from __future__ import annotations

import pytest
import torch

from mimgen.errors import UserError
from mimgen.probing import Encoder, extract, linear_probe
from mimgen.tokenizers import ConvTokenizer
from mimgen.tokenizers.encoder import TokenizerEncoder
from mimgen.types import Codes


def tokenizer(quantizer: str = "fsq") -> ConvTokenizer:
    torch.manual_seed(0)
    return ConvTokenizer(8, (1,), 1, 4, 6, quantizer, codebook_size=32, levels=(4, 4, 4), local=True).eval()


@pytest.mark.parametrize("quantizer", ["vq", "lfq", "fsq"])
def test_tokens_are_the_latents_on_their_grid(quantizer: str) -> None:
    inner = tokenizer(quantizer)
    encoder: Encoder = TokenizerEncoder(inner)
    images = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    tokens = encoder(images)
    assert tokens.grid == (4, 6) and tokens.prefix.shape == (2, 0, encoder.dim) and encoder.patch == 4
    assert tokens.patches.shape == (2, 24, encoder.dim) and encoder.depth == 0
    latents = inner.encode(images).latents
    assert torch.equal(tokens.patches[1, 8], latents[1, :, 1, 2])


def test_the_mean_of_codes_is_their_histogram() -> None:
    inner = tokenizer()
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    features = extract(TokenizerEncoder(inner, after="codes"), images).joined
    indices = inner.encode(images).indices
    assert indices is not None and features.shape == (3, 64)
    assert torch.allclose(features[0] * 16, indices[0].flatten().bincount(minlength=64).float())


def test_a_probe_reads_a_label_off_it() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(80) % 2
    images = torch.rand(80, 3, 16, 16, generator=generator) * 0.5 + 0.5 * labels[:, None, None, None]
    encoder = TokenizerEncoder(tokenizer()).train()
    features = extract(encoder, images, pooling="grid").joined
    assert features.shape == (80, 16 * encoder.dim) and encoder.training
    assert linear_probe(features[:60], labels[:60], features[60:], labels[60:], seed=0).accuracy > 0.9


class _Continuous:
    """A tokenizer without a codebook."""

    codebook_size, downsample = 0, 4

    def encode(self, images: torch.Tensor) -> Codes:
        return Codes(None, images[:, :, ::4, ::4])

    def lookup(self, indices: torch.Tensor) -> torch.Tensor:
        raise UserError("no codes")


def test_continuous_tokenizers_work_too() -> None:
    encoder = TokenizerEncoder(_Continuous())
    assert encoder.dim == 0
    assert extract(encoder, torch.rand(2, 3, 8, 8)).joined.shape == (2, 3)
    assert encoder.dim == 3


class _Fixed(_Continuous):
    """Ids of a fixed number only, as TiTok has them."""

    codebook_size = 4

    def lookup(self, indices: torch.Tensor) -> torch.Tensor:
        if indices.shape[1:] != (1, 8):
            raise UserError("ids must be [B, 1, 8]")
        return torch.zeros(len(indices), 3, 1, 8)


def test_a_fixed_number_of_codes_shows_its_width_later() -> None:
    encoder = TokenizerEncoder(_Fixed())
    assert encoder.dim == 0 and encoder(torch.rand(2, 3, 8, 8)).patches.shape == (2, 4, 3)
    assert encoder.dim == 3


def test_mistakes_name_the_fix() -> None:
    with pytest.raises(UserError, match="choose from quantised, codes"):
        TokenizerEncoder(tokenizer(), after="encoder")  # type: ignore[arg-type]
    with pytest.raises(UserError, match='use after="quantised"'):
        TokenizerEncoder(_Continuous(), after="codes")
    with pytest.raises(UserError, match="leave `layers` out"):
        TokenizerEncoder(tokenizer())(torch.rand(1, 3, 16, 16), layers=(0,))
