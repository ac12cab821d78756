"""LlamaGen's tokenizer and its codebook."""

import pytest
import torch
import torch.nn.functional as F

from mimgen.errors import UserError
from mimgen.methods import Reconstruction
from mimgen.tokenizers import Tokenizer
from mimgen.tokenizers.codebook import GradientCodebook
from mimgen.tokenizers.llamagen.model import LlamaGenVQ
from mimgen.types import Batch, SampleRNG


def tiny(**options):
    torch.manual_seed(0)
    defaults = {"channels": 32, "multipliers": (1, 1, 2), "blocks": 1, "z_channels": 8, "codebook_size": 32,
                "code_dim": 4, "usage_window": 0}  # fmt: skip
    return LlamaGenVQ(**{**defaults, **options})


def make_images(height=16, width=24, seed=0):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def tokenizer():
    return tiny().eval()


@torch.no_grad()
def test_round_trip(tokenizer):
    assert isinstance(tokenizer, Tokenizer) and tokenizer.downsample == 4
    codes = tokenizer.encode(make_images())
    assert codes.indices.shape == (2, 4, 6) and codes.indices.dtype == torch.int64 and not codes.losses
    made = tokenizer.decode(codes)
    assert made.shape == (2, 3, 16, 24) and made.min() >= 0 and made.max() <= 1
    torch.testing.assert_close(tokenizer.lookup(codes.indices), codes.latents)
    torch.testing.assert_close(tokenizer.decode(codes.indices), made)


@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch(tokenizer):
    images = make_images()
    torch.testing.assert_close(tokenizer.encode(images).latents[1:], tokenizer.encode(images[1:]).latents)


def test_wrong_input_is_named(tokenizer):
    with pytest.raises(UserError, match="multiples of 4"):
        tokenizer.encode(make_images(18, 24))
    with pytest.raises(UserError, match="RGB"):
        tokenizer.encode(torch.rand(2, 1, 16, 16))
    with pytest.raises(UserError, match="another tokenizer"):
        tokenizer.decode(torch.full((1, 4, 4), 32))
    with pytest.raises(UserError, match="another tokenizer"):
        tokenizer.decode(torch.zeros(1, 5, 4, 4))
    with pytest.raises(UserError, match="multiple of 32"):
        tiny(channels=48)
    with pytest.raises(UserError, match="levels"):
        tiny(decoder_multipliers=(1, 1))


@torch.no_grad()
def test_only_training_counts_usage():
    tokenizer = tiny(usage_window=100).eval()
    before = {name: value.clone() for name, value in tokenizer.state_dict().items()}
    tokenizer.decode(tokenizer.encode(make_images()))
    assert all(torch.equal(value, before[name]) for name, value in tokenizer.state_dict().items())
    assert tokenizer.quantize.usage() == 0
    ids = tokenizer.train().encode(make_images()).indices
    assert tokenizer.quantize.usage() == len(ids.unique()) / 32
    assert torch.equal(tokenizer.quantize.codebook_used[-48:].long(), ids.flatten())


def test_a_window_keeps_the_latest_ids():
    codebook = GradientCodebook(2, 4, cosine=False, window=5)
    for value in (0, 1, 2):
        codebook._remember(torch.full((2,), value))
    assert codebook.codebook_used.tolist() == [0, 1, 1, 2, 2]
    codebook._remember(torch.arange(8) % 4)
    assert codebook.codebook_used.tolist() == [3, 0, 1, 2, 3]


def test_saving_keeps_every_number(tmp_path, tokenizer):
    tokenizer.save_pretrained(tmp_path)
    loaded = LlamaGenVQ.from_pretrained(tmp_path)
    assert torch.equal(loaded.decode(images_codes := tokenizer.encode(make_images())), tokenizer.decode(images_codes))


def test_reconstruction_trains_every_parameter():
    objective = Reconstruction(tiny(entropy=0.1), l2=1.0, l1=0.0)
    batch = Batch(make_images(16, 16), ("",) * 2, ("",) * 2, SampleRNG(range(2)))
    losses = objective(batch)
    assert set(losses.terms) == {"l2", "codebook", "commitment", "entropy"}
    losses.total.backward()
    without = [name for name, p in objective.tokenizer.named_parameters() if p.grad is None or not p.grad.any()]
    # a shift common to all positions is taken away again by the norms' means, up to rounding
    assert [name for name in without if not name.endswith("bias")] == []
    first = losses.total.item()
    optimizer = torch.optim.Adam(objective.parameters(), 3e-3)
    for _ in range(15):
        optimizer.zero_grad()
        objective(batch).total.backward()
        optimizer.step()
    assert objective(batch).total.item() < 0.7 * first


@pytest.mark.parametrize("cosine", [True, False])
def test_codes_are_the_nearest_by_hand(cosine):
    torch.manual_seed(0)
    codebook = GradientCodebook(3, 7, cosine=cosine).eval()
    torch.nn.init.normal_(codebook.embedding.weight)
    latents = torch.randn(2, 3, 2, 2)
    rows, entries = latents.permute(0, 2, 3, 1).flatten(0, 2), codebook.embedding.weight
    if cosine:
        rows, entries = F.normalize(rows, dim=1), F.normalize(entries, dim=1)
    assert torch.equal(codebook(latents).indices.flatten(), torch.cdist(rows, entries).argmin(1))


def test_entropy_is_that_of_distances_by_hand():
    torch.manual_seed(0)
    codebook = GradientCodebook(3, 5, cosine=False, entropy=0.3)
    torch.nn.init.normal_(codebook.embedding.weight, std=0.1)
    latents = torch.randn(2, 3, 2, 2) * 0.1
    rows = latents.permute(0, 2, 3, 1).flatten(0, 2)
    p = (-torch.cdist(rows, codebook.embedding.weight).square() / 0.01).softmax(1)
    sample, mean = torch.special.entr(p).sum(1).mean(), p.mean(0)
    expected = 0.3 * (sample + (mean * (mean + 1e-5).log()).sum())
    torch.testing.assert_close(codebook(latents).losses["entropy"], expected, atol=1e-4, rtol=1e-3)
