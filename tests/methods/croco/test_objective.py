"""CroCo: what is scored, that the second view helps, and that both views are needed."""

from dataclasses import replace

import pytest
import torch

from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.croco.decoder import CrossViewDecoder
from mimgen.methods.croco.encoder import CrossViewVit
from mimgen.methods.croco.objective import CroCo
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Mask, SampleRNG


def make_images(step=0, count=16):
    generator = torch.Generator().manual_seed(step)
    return torch.rand(count, 3, 4, 4, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)


def batch(step=0, count=16, second=None):
    """Views that are the same image, or `second`."""
    images = make_images(step, count)
    extras = {"second": images if second is None else second}
    return Batch(images, ("",) * count, ("",) * count, SampleRNG.for_rows(0, step, range(count)), extras=extras)


def objective(**options):
    torch.manual_seed(0)
    encoder = CrossViewVit(16, 4, 32, 1, 2)
    target = PixelTarget(4, normalise=False, last=True)
    return CroCo(encoder, CrossViewDecoder(16, 4, 32, 32, 2, 2), target, Random(0.75), **options)


def test_the_second_view_helps():
    """Visible patches are black, masked ones of one colour an image, which only the second view shows."""
    trained, masked = objective().train(), (torch.arange(16) < 12)
    trained.masking = lambda grid, rng: Mask(masked.expand(len(rng), -1))
    pixels = masked.view(4, 4).repeat_interleave(4, 0).repeat_interleave(4, 1)

    def coloured(step):
        colours = torch.rand(16, 3, 1, 1, generator=torch.Generator().manual_seed(step))
        images = colours * pixels
        return Batch(images, ("",) * 16, ("",) * 16, SampleRNG(range(16)), extras={"second": images})

    optimiser = torch.optim.AdamW(trained.parameters(), 3e-3)
    for step in range(40):
        optimiser.zero_grad()
        losses = trained(coloured(step))
        losses.total.backward()
        optimiser.step()
    assert set(losses.terms) == {"completion"}
    trained.eval()
    module = coloured(900)
    with torch.no_grad():
        right = trained(module).total
        wrong = trained(replace(module, extras={"second": module.images.roll(1, 0)})).total
        none = trained(replace(module, extras={"second": torch.zeros(16, 3, 16, 16)})).total
    assert right < wrong / 1.5 and right < none / 1.5


def test_only_masked_patches_of_the_first_view_are_scored():
    images, second = make_images(0, 2), make_images(1, 2)
    mask = Random(0.75)((4, 4), SampleRNG([0, 1]))
    module, everywhere = objective().eval(), objective(everywhere=True).eval()
    distance = module.target.loss(module.complete(images, second, mask), module.target(images))
    pair = Batch(images, extras={"second": second})
    torch.testing.assert_close(module(pair, mask).total, distance[mask.masked].mean())
    torch.testing.assert_close(everywhere(pair, mask).total, distance.mean())


def test_visible_goals_do_not_count(monkeypatch):
    module, images, second = objective().eval(), make_images(0, 2), make_images(1, 2)
    mask = Mask((torch.arange(16) < 12).expand(2, -1))
    output, base = module.complete(images, second, mask), module(Batch(images, extras={"second": second}), mask).total
    monkeypatch.setattr(module, "predict", lambda *_: torch.where(mask.masked[..., None], output, output + 7))
    assert torch.equal(module(Batch(images, extras={"second": second}), mask).total, base)


def test_colours_change_apart_and_only_when_asked():
    seen = {}

    def watched(**options):
        module = objective(**options).eval()
        complete = module.complete
        module.complete = lambda first, second, mask: (
            seen.update(first=first, second=second) or complete(first, second, mask)
        )
        module(batch())
        return seen

    same = watched()
    assert torch.equal(same["first"], make_images()) and torch.equal(same["first"], same["second"])
    changed = watched(jitter=0.4)
    assert not torch.allclose(changed["first"], changed["second"], atol=0.01)
    assert float(changed["first"].min()) >= 0 and float(changed["first"].max()) <= 1


def test_what_is_missing_is_named():
    plain = Batch(make_images(0, 2), ("",) * 2, ("",) * 2, SampleRNG([0, 1]))
    with pytest.raises(UserError, match="--data parallax"):
        objective()(plain)
    encoder, decoder = CrossViewVit(16, 4, 32, 1, 2), CrossViewDecoder(16, 4, 32, 24, 1, 2)
    with pytest.raises(UserError, match="build both for"):
        CroCo(encoder, decoder, PixelTarget(8), Random())
