"""The masked loss as a measure: the same every time, whatever the batch and the order."""

import pytest
import torch

from mimgen.decoders.mae import LinearDecoder
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.evaluation.masked import masked_loss
from mimgen.masking.random import Random
from mimgen.methods.mim import MIM
from mimgen.targets import PixelTarget
from mimgen.types import Batch, SampleRNG, mix_seed

KEYS = [f"image {i}" for i in range(5)]


def objective():
    torch.manual_seed(0)
    encoder = VitEncoder(16, 4, 16, 2, 2, drop_path=0.5, mask_token="replace")
    return MIM(encoder, LinearDecoder(16, 4, 4), PixelTarget(4, distance="absolute"), Random(0.6))


def make_images():
    return torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_it_is_the_mean_over_images_and_masks():
    module = objective().eval()
    losses = []
    for number in range(2):
        for image, key in zip(make_images()[:, None], KEYS):
            one = Batch(image, rng=SampleRNG([mix_seed(3, "masked loss", key, number)]))
            losses.append(float(module(one).total.detach()))
    found = masked_loss(module, make_images(), KEYS, masks=2, seed=3)
    assert found == pytest.approx(sum(losses) / 10, rel=1e-5)


def test_it_is_the_same_twice_and_does_not_depend_on_batch_or_order():
    module = objective().train()
    base = masked_loss(module, make_images(), KEYS)
    assert masked_loss(module, make_images(), KEYS) == base and module.training
    assert masked_loss(module, make_images(), KEYS, batch=2) == pytest.approx(base, rel=1e-6)
    assert masked_loss(module, make_images().flip(0), KEYS[::-1]) == pytest.approx(base, rel=1e-6)
    assert masked_loss(module, make_images(), KEYS, seed=1) != base
    assert masked_loss(module, make_images(), KEYS[::-1]) != base


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match="5 images, 4 keys"):
        masked_loss(objective(), make_images(), KEYS[:4])
    with pytest.raises(UserError, match="diverged"):
        masked_loss(objective(), make_images() * torch.nan, KEYS)
