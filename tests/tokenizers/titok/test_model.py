"""TiTok: rows of tokens instead of maps."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.methods import Reconstruction
from mimgen.tokenizers import ConvTokenizer, ImageQuantizer, Tokenizer
from mimgen.tokenizers.titok import TiTok, TiTokLegacy, TiTokProxy
from mimgen.types import Batch, SampleRNG

SIZES = {"image_size": 16, "tokens": 6, "patch": 4, "encoder": (16, 1, 2), "codebook_size": 32, "token_size": 5,
         "levels": (4, 4, 3)}  # fmt: skip
VQGAN = {"pixel_width": 8, "pixel_channels": 32, "pixel_multipliers": (1, 2, 1), "pixel_blocks": 1}

MAKERS = {
    "vq": lambda: TiTok(**SIZES),
    "ema": lambda: TiTok(**SIZES, quantizer="ema"),
    "lfq": lambda: TiTok(**SIZES, quantizer="lfq", decoder_patch=8),
    "fsq": lambda: TiTok(**SIZES, quantizer="fsq", decoder=(24, 2, 3)),
    "kl": lambda: TiTok(**SIZES, quantizer="kl"),
    "reshaped": lambda: TiTok(**SIZES, reshaped=True),
    "legacy": lambda: TiTokLegacy(**SIZES, **VQGAN, classes=16),
}


def make_images(side=16, seed=0):
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed))


def batch(codes=None):
    return Batch(make_images(), ("",) * 2, ("",) * 2, SampleRNG(range(2)), codes=codes)


@pytest.fixture(params=MAKERS, scope="module")
def tokenizer(request):
    torch.manual_seed(0)
    return MAKERS[request.param]().eval()


@torch.no_grad()
def test_round_trip(tokenizer):
    assert isinstance(tokenizer, Tokenizer) and tokenizer.downsample == 4 and tokenizer.grid == (1, 6)
    codes = tokenizer.encode(make_images())
    assert codes.latents.shape[0] == 2 and codes.latents.shape[2:] == (1, 6) and not codes.losses
    made = tokenizer.decode(codes)
    assert made.shape == (2, 3, 16, 16) and made.min() >= 0 and made.max() <= 1
    assert torch.isfinite(made).all()


@torch.no_grad()
def test_ids_alone_rebuild_the_image(tokenizer):
    codes = tokenizer.encode(make_images())
    if not tokenizer.codebook_size:
        assert codes.indices is None
        with pytest.raises(UserError, match="continuous"):
            tokenizer.lookup(torch.zeros(1, 1, 6, dtype=torch.int64))
        return
    assert codes.indices.shape == (2, 1, 6) and codes.indices.dtype == torch.int64
    assert 0 <= codes.indices.min() <= codes.indices.max() < tokenizer.codebook_size
    torch.testing.assert_close(tokenizer.lookup(codes.indices), codes.latents, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(tokenizer.decode(codes.indices), tokenizer.decode(codes), atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch(tokenizer):
    images = make_images()
    torch.testing.assert_close(
        tokenizer.encode(images).latents[1:], tokenizer.encode(images[1:]).latents, atol=1e-5, rtol=1e-4
    )


def test_wrong_input_is_named(tokenizer):
    with pytest.raises(UserError, match="multiples of 4"):
        tokenizer.encode(make_images(18))
    with pytest.raises(UserError, match="RGB"):
        tokenizer.encode(torch.rand(2, 1, 16, 16))
    with pytest.raises(UserError, match="16 x 16, got 20 x 20"):
        tokenizer.encode(make_images(20))
    with pytest.raises(UserError, match="another tokenizer"):
        tokenizer.decode(torch.zeros(1, 7, 1, 6))
    if tokenizer.codebook_size:
        with pytest.raises(UserError, match="another tokenizer"):
            tokenizer.decode(torch.full((1, 1, 6), tokenizer.codebook_size))
        with pytest.raises(UserError, match="another tokenizer"):
            tokenizer.decode(torch.zeros(1, 4, 4, dtype=torch.int64))


@torch.no_grad()
def test_encoding_for_use_changes_nothing(tokenizer):
    before = {name: value.clone() for name, value in tokenizer.state_dict().items()}
    tokenizer.decode(tokenizer.encode(make_images()))
    assert all(torch.equal(value, before[name]) for name, value in tokenizer.state_dict().items())


def test_saving_keeps_every_number(tmp_path, tokenizer):
    tokenizer.save_pretrained(tmp_path)
    loaded = type(tokenizer).from_pretrained(tmp_path)
    codes = tokenizer.encode(make_images())
    assert torch.equal(loaded.decode(codes), tokenizer.decode(codes))


@pytest.mark.parametrize("kind", ["vq", "ema", "lfq", "fsq", "kl"])
def test_reconstruction_trains_every_weight(kind):
    torch.manual_seed(0)
    objective = Reconstruction(TiTok(**SIZES, quantizer=kind), l2=1.0)
    objective(batch()).total.backward()
    without = [name for name, p in objective.tokenizer.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_stage_two_trains_the_painter_only():
    torch.manual_seed(0)
    objective = Reconstruction(TiTokLegacy(**SIZES, **VQGAN, classes=16))
    losses = objective(batch())
    assert set(losses.terms) == {"l1"}
    losses.total.backward()
    trained = {name.split(".")[0] for name, p in objective.tokenizer.named_parameters() if p.grad is not None}
    assert trained == {"decoder", "pixel_quantize", "pixel_decoder"}


def test_stage_two_moves_no_averaged_code():
    torch.manual_seed(0)
    painter = TiTokLegacy(**SIZES, **VQGAN, classes=16, quantizer="ema").train()
    before = {name: value.clone() for name, value in painter.quantize.state_dict().items()}
    painter(make_images())
    assert all(torch.equal(value, before[name]) for name, value in painter.quantize.state_dict().items())


def test_stage_two_begins_where_stage_one_ended():
    torch.manual_seed(0)
    proxy, codes = TiTokProxy(**SIZES, classes=16).eval(), torch.randn(16, 8)
    painter = TiTokLegacy.from_proxy(
        proxy, codes=codes, pixel_channels=32, pixel_multipliers=(1, 1, 1), pixel_blocks=1
    ).eval()
    assert torch.equal(painter.predict(painter.encode(make_images())), proxy.predict(proxy.encode(make_images())))
    assert torch.equal(painter.pixel_quantize.embedding.weight, codes)
    with pytest.raises(UserError, match="decoder_patch"):
        TiTokLegacy.from_proxy(TiTokProxy(**SIZES, decoder_patch=8))


def test_soft_codes_are_the_mixture_by_hand():
    torch.manual_seed(0)
    painter = TiTokLegacy(**SIZES, **VQGAN, classes=16).eval()
    codes = painter.encode(make_images())
    shares, table = painter.logits(codes.latents).softmax(1), painter.pixel_quantize.embedding.weight
    mixed = (shares.permute(0, 2, 3, 1) @ table).permute(0, 3, 1, 2)
    torch.testing.assert_close(painter.reconstruct(codes.latents), painter.pixel_decoder(mixed))


def test_a_proxy_is_a_coder_without_images():
    proxy = TiTokProxy(**SIZES, classes=16).eval()
    assert isinstance(proxy, ImageQuantizer) and not isinstance(proxy, Tokenizer)
    codes = proxy.encode(make_images())
    ids = proxy.predict(codes)
    assert ids.shape == (2, 4, 4) and torch.equal(ids, proxy.predict(codes.indices))
    teacher = ConvTokenizer(8, (1,), 1, 4, 6, "vq", 16).eval()
    assert teacher.decode(ids).shape == (2, 3, 16, 16)


def test_tokens_see_the_whole_image_and_the_order_of_the_reshape():
    torch.manual_seed(0)
    straight = TiTok(**SIZES, quantizer="kl").eval()
    reshaped = TiTok(**SIZES, quantizer="kl", reshaped=True).eval()
    reshaped.load_state_dict(straight.state_dict())
    first, second = straight.hidden(make_images()), reshaped.hidden(make_images())
    assert first.shape == second.shape and not torch.allclose(first, second, atol=1e-3)
    changed = make_images()
    changed[:, :, :4, :4] = 0
    assert ((straight.hidden(changed) - first).abs().amax((0, 1, 2)) > 1e-6).all()


def test_a_sample_differs_from_the_mean_by_the_noise():
    torch.manual_seed(0)
    tokenizer = TiTok(**SIZES, quantizer="kl").train()
    codes = tokenizer.encode(make_images(), SampleRNG(range(2)))
    posterior = tokenizer.quantize.posterior(tokenizer.hidden(make_images()))
    torch.testing.assert_close(codes.latents, posterior.mean + posterior.std * SampleRNG(range(2)).normal(5, 1, 6))
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(posterior.mean, posterior.std), torch.distributions.Normal(0.0, 1.0)
    )
    torch.testing.assert_close(codes.losses["kl"], 1e-6 * expected.sum(1).mean())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 18}, "patches of 4"),
        ({"decoder_patch": 5}, "decoder patches of 5"),
        ({"encoder": (16, 1, 3)}, "3 heads"),
        ({"quantizer": "pq"}, "quantizer"),
        ({"tokens": 0}, "at least 1"),
    ],
)
def test_impossible_sizes_are_named(options, message):
    with pytest.raises(UserError, match=message):
        TiTok(**{**SIZES, **options})


def test_a_painter_of_another_size_is_named():
    with pytest.raises(UserError, match="halving"):
        TiTokLegacy(**SIZES, **{**VQGAN, "pixel_multipliers": (1, 1)})
