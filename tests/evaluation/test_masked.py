"""The masked loss as a measure: the same every time, whatever the batch and the order."""

import pytest
import torch

from mimgen.decoders.mae import LinearDecoder
from mimgen.encoders.mae import MaskTokenVit
from mimgen.errors import UserError
from mimgen.evaluation.masked import masked_loss
from mimgen.masking.random import Random
from mimgen.methods.mim import MaskedModelling
from mimgen.targets import PixelTarget
from mimgen.types import Draws, mix_seed

KEYS = [f"picture {i}" for i in range(5)]


def objective():
    torch.manual_seed(0)
    encoder = MaskTokenVit(16, 4, 16, 2, 2, drop_path=0.5)
    return MaskedModelling(encoder, LinearDecoder(16, 4, 4), PixelTarget(4, distance="absolute"), Random(0.6))


def pictures():
    return torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_it_is_the_mean_over_pictures_and_masks():
    judged = objective().eval()
    losses = []
    for number in range(2):
        for image, key in zip(pictures()[:, None], KEYS):
            mask = judged.mask(image, Draws([mix_seed(3, "masked loss", key, number)]))
            losses.append(float(judged.losses(image, mask).total.detach()))
    found = masked_loss(judged, pictures(), KEYS, masks=2, seed=3)
    assert found == pytest.approx(sum(losses) / 10, rel=1e-5)


def test_it_is_the_same_twice_and_does_not_depend_on_batch_or_order():
    judged = objective().train()
    base = masked_loss(judged, pictures(), KEYS)
    assert masked_loss(judged, pictures(), KEYS) == base and judged.training
    assert masked_loss(judged, pictures(), KEYS, batch=2) == pytest.approx(base, rel=1e-6)
    assert masked_loss(judged, pictures().flip(0), KEYS[::-1]) == pytest.approx(base, rel=1e-6)
    assert masked_loss(judged, pictures(), KEYS, seed=1) != base
    assert masked_loss(judged, pictures(), KEYS[::-1]) != base


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match="5 pictures, 4 keys"):
        masked_loss(objective(), pictures(), KEYS[:4])
    with pytest.raises(UserError, match="diverged"):
        masked_loss(objective(), pictures() * torch.nan, KEYS)
