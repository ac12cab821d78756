"""CroCo: what is scored, that the second view helps, and that both views are needed."""

from dataclasses import replace

import pytest
import torch

from mimgen.decoders.cross_attention import CrossViewDecoder
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.croco.encoder import CrossViewVit
from mimgen.methods.croco.objective import CrossViewCompletion
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Draws, Mask


def pictures(step=0, count=16):
    generator = torch.Generator().manual_seed(step)
    return torch.rand(count, 3, 4, 4, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)


def batch(step=0, count=16, second=None):
    """Views that are the same picture, or `second`."""
    images = pictures(step, count)
    extras = {"second": images if second is None else second}
    return Batch(images, ("",) * count, ("",) * count, Draws.for_rows(0, step, range(count)), extras=extras)


def objective(**options):
    torch.manual_seed(0)
    encoder = CrossViewVit(16, 4, 32, 1, 2)
    target = PixelTarget(4, normalise=False, last=True)
    return CrossViewCompletion(encoder, CrossViewDecoder(16, 4, 32, 32, 2, 2), target, Random(0.75), **options)


def test_the_second_view_helps():
    """Visible patches are black, hidden ones of one colour a picture, which only the second view shows."""
    trained, hidden = objective().train(), (torch.arange(16) < 12)
    trained.masking = lambda grid, draws: Mask(hidden.expand(len(draws), -1))
    pixels = hidden.view(4, 4).repeat_interleave(4, 0).repeat_interleave(4, 1)

    def coloured(step):
        colours = torch.rand(16, 3, 1, 1, generator=torch.Generator().manual_seed(step))
        images = colours * pixels
        return Batch(images, ("",) * 16, ("",) * 16, Draws(range(16)), extras={"second": images})

    optimiser = torch.optim.AdamW(trained.parameters(), 3e-3)
    for step in range(40):
        optimiser.zero_grad()
        losses = trained(coloured(step))
        losses.total.backward()
        optimiser.step()
    assert set(losses.terms) == {"completion"}
    trained.eval()
    judged = coloured(900)
    with torch.no_grad():
        right = trained(judged).total
        wrong = trained(replace(judged, extras={"second": judged.images.roll(1, 0)})).total
        none = trained(replace(judged, extras={"second": torch.zeros(16, 3, 16, 16)})).total
    assert right < wrong / 1.5 and right < none / 1.5


def test_only_hidden_patches_of_the_first_view_are_scored():
    images, second = pictures(0, 2), pictures(1, 2)
    mask = Random(0.75)((4, 4), Draws([0, 1]))
    judged, everywhere = objective().eval(), objective(everywhere=True).eval()
    distance = judged.target.loss(judged.predict(images, second, mask), judged.target(images))
    torch.testing.assert_close(judged.losses(images, second, mask).total, distance[mask.hidden].mean())
    torch.testing.assert_close(everywhere.losses(images, second, mask).total, distance.mean())


def test_visible_goals_do_not_count(monkeypatch):
    judged, images, second = objective().eval(), pictures(0, 2), pictures(1, 2)
    mask = Mask((torch.arange(16) < 12).expand(2, -1))
    said, base = judged.predict(images, second, mask), judged.losses(images, second, mask).total
    monkeypatch.setattr(judged, "predict", lambda *_: torch.where(mask.hidden[..., None], said, said + 7))
    assert torch.equal(judged.losses(images, second, mask).total, base)


def test_colours_change_apart_and_only_when_asked():
    seen = {}

    def watched(**options):
        judged = objective(**options).eval()
        judged.losses = lambda first, second, mask: seen.update(first=first, second=second) or torch.zeros(())
        judged(batch())
        return seen

    same = watched()
    assert torch.equal(same["first"], pictures()) and torch.equal(same["first"], same["second"])
    changed = watched(jitter=0.4)
    assert not torch.allclose(changed["first"], changed["second"], atol=0.01)
    assert float(changed["first"].min()) >= 0 and float(changed["first"].max()) <= 1


def test_what_is_missing_is_named():
    plain = Batch(pictures(0, 2), ("",) * 2, ("",) * 2, Draws([0, 1]))
    with pytest.raises(UserError, match="--data parallax"):
        objective()(plain)
    encoder, decoder = CrossViewVit(16, 4, 32, 1, 2), CrossViewDecoder(16, 4, 32, 24, 1, 2)
    with pytest.raises(UserError, match="build both for"):
        CrossViewCompletion(encoder, decoder, PixelTarget(8), Random())
