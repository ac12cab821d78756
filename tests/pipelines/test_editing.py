"""Editing: what is kept stays bit for bit, what is masked is generated anew, and mistakes say what to do."""

from __future__ import annotations

import pytest
import torch

from mimgen.errors import UserError
from mimgen.pipelines import TextToImagePipeline, edit, inpaint, outpaint
from mimgen.pipelines.editing import blended, feathered, tokens_under
from tests.pipelines.tiny import CODES, SIDE, tiny_pipeline

PROMPTS = ["red apple", "blue car"]


@pytest.fixture(scope="module")
def pipeline() -> TextToImagePipeline:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    # 8-bit pixels, as images come from files
    bytes_ = torch.randint(0, 256, (2, 3, 16, 24), generator=torch.Generator().manual_seed(1))
    return bytes_.float() / 255


def hole() -> torch.Tensor:
    mask = torch.zeros(16, 24)
    mask[5:10, 9:12] = 1
    return mask


def test_tokens_outside_the_hole_are_bit_identical(pipeline, images):
    known = ~tokens_under(hole()[None], SIDE, 1)[0]
    output = inpaint(pipeline, PROMPTS, images, hole(), seed=[3, 4])
    ids = pipeline.encode(images)
    assert torch.equal(output.tokens[:, known], ids[:, known])
    assert bool((output.unmasked_at[:, known] == -1).all()) and bool((output.unmasked_at[:, ~known] >= 0).all())
    assert not torch.equal(output.tokens, ids)
    assert bool((output.tokens < CODES).all())


def test_pixels_beyond_the_feather_are_bit_identical(pipeline, images):
    output = inpaint(pipeline, PROMPTS, images, hole(), feather=3)
    far = feathered(hole()[None], 3)[0] == 0
    assert 0 < int(far.sum()) < far.numel()
    assert torch.equal(output.images[..., far], images[..., far])
    new = inpaint(pipeline, PROMPTS, images, hole(), feather=-1)
    assert torch.equal(output.images[..., hole() > 0], new.images[..., hole() > 0])
    assert not torch.equal(new.images[..., far], images[..., far])  # the tokenizer's reconstruction


def test_masks_of_their_own_hide_different_numbers_of_tokens(pipeline, images):
    masks = torch.stack([hole(), torch.zeros(16, 24)])
    masks[1, :4] = 1
    together = inpaint(pipeline, PROMPTS, images, masks, dilate=0, seed=[3, 4])
    assert (together.unmasked_at >= 0).flatten(1).sum(1).tolist() == [2, 6]
    alone = inpaint(pipeline, PROMPTS[1:], images[1], masks[1], dilate=0, seed=4)
    assert torch.equal(together.tokens[1], alone.tokens[0])


def test_tokens_under_a_mask_and_around_it():
    mask = torch.zeros(1, 16, 24)
    mask[0, 7, 8] = 1  # one pixel of the token in row 1, column 2
    assert tokens_under(mask, 4, 0).nonzero().tolist() == [[0, 1, 2]]
    assert tokens_under(mask, 4, 1).sum() == 9
    assert tokens_under(mask, 4, 2).sum() == 20  # the grid ends


@pytest.mark.parametrize("width", [0, 1, 2, 5, 8])
def test_the_feather_is_one_in_the_hole_and_falls_to_nothing(width):
    mask = torch.zeros(1, 1, 40)
    mask[..., :10] = 1
    weight = feathered(mask, width)[0, 0]
    assert bool((weight[:10] == 1).all())
    assert bool((weight[10 + width :] == 0).all())
    assert bool((weight.diff() <= 1e-6).all())
    steps = -weight[9 : 11 + width].diff()
    assert float(steps.max()) <= 1 / max(1, width // 2)


def test_blending_keeps_where_nothing_shows():
    old, new = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    weight = torch.tensor([0.0, 0.25, 0.5, 1.0]).expand(1, 4, 4)
    mixed = blended(new, old, weight)
    assert torch.equal(mixed[..., 0], old[..., 0])
    torch.testing.assert_close(mixed[..., 1], 0.75 * old[..., 1] + 0.25 * new[..., 1])
    assert torch.equal(mixed[..., 3], new[..., 3])


@pytest.mark.parametrize(("strength", "steps", "masked"), [(0.5, 4, 17), (0.25, 2, 9), (1.0, 8, 24)])
def test_strength_hides_the_schedules_share_and_runs_what_is_left(pipeline, images, strength, steps, masked):
    seen = []
    output = edit(
        pipeline, PROMPTS, images, strength=strength, steps=8, seed=[1, 2],
        on_step=lambda step, tokens: seen.append((tokens == CODES).sum(1).tolist()),
    )  # fmt: skip
    assert (output.unmasked_at >= 0).flatten(1).sum(1).tolist() == [masked] * 2  # round(24 cos(pi (1 - s) / 2))
    assert len(seen) == steps
    kept = output.unmasked_at == -1
    assert torch.equal(output.tokens[kept], pipeline.encode(images)[kept])
    assert seen[-1] == [0, 0] and seen == sorted(seen, reverse=True)


def test_an_edit_goes_on_along_the_schedule_of_the_whole_run(pipeline, images):
    counts = []
    edit(
        pipeline, ["cat"], images[0], strength=0.5, steps=8,
        on_step=lambda step, tokens: counts.append(int((tokens == CODES).sum())),
    )  # fmt: skip
    assert counts == [13, 9, 4, 0]  # floor(24 cos(pi / 2 * (5, 6, 7, 8) / 8))


def test_an_edit_depends_on_its_own_seed_only(pipeline, images):
    together = edit(pipeline, PROMPTS, images, seed=[1, 2])
    alone = edit(pipeline, PROMPTS[1:], images[1:], seed=[2])
    assert torch.equal(together.tokens[1], alone.tokens[0])
    assert not torch.equal(together.tokens, edit(pipeline, PROMPTS, images, seed=[3, 4]).tokens)


def test_one_image_serves_all_prompts(pipeline, images):
    output = inpaint(pipeline, PROMPTS, images[0], hole(), images_per_prompt=2, seed=[1, 2, 3, 4], batch_size=3)
    assert len(output.images) == 4
    again = inpaint(pipeline, PROMPTS[1:], images[0], hole(), images_per_prompt=2, seed=[3, 4])
    assert torch.equal(output.tokens[2:], again.tokens)
    each = inpaint(pipeline, PROMPTS, images, hole(), images_per_prompt=2, seed=[1, 2, 3, 4])
    assert torch.equal(each.tokens[:2], output.tokens[:2])
    assert not torch.equal(each.tokens[2:], output.tokens[2:])
    one = inpaint(pipeline, ["cat"], images[0], hole(), images_per_prompt=3)
    assert len(one.images) == 3


def test_strength_of_an_inpainting_keeps_some_of_the_hole(pipeline, images):
    output = inpaint(pipeline, ["cat"], images[0], hole(), strength=0.5)
    inside = tokens_under(hole()[None], SIDE, 1)
    masked = output.unmasked_at >= 0
    assert 0 < int(masked.sum()) < int(inside.sum())
    assert bool(inside[masked].all())


def test_outpainting_grows_the_canvas(pipeline, images):
    output = outpaint(pipeline, ["cat"], images[0], (8, 0, 4, 12), feather=2, dilate=0)
    assert output.images.shape == (1, 3, 28, 36) and output.tokens.shape == (1, 7, 9)
    inner = output.images[0, :, :16, 8:32]
    # two pixels fade; the others are the given ones
    assert torch.equal(inner[:, :14, 2:22], images[0, :, :14, 2:22])
    assert bool((output.unmasked_at[0, :4, 2:8] == -1).all())
    assert bool((output.unmasked_at[0, 4:] >= 0).all()) and bool((output.unmasked_at[0, :, :2] >= 0).all())


def test_outpainting_draws_the_border_tokens_anew(pipeline, images):
    output = outpaint(pipeline, ["cat"], images[0], (4, 0, 0, 0))
    assert bool((output.unmasked_at[0, :, :2] >= 0).all()) and bool((output.unmasked_at[0, :, 2:] == -1).all())


def test_a_cancelled_inpainting_shows_grey_and_keeps_the_rest(pipeline, images):
    output = inpaint(
        pipeline, PROMPTS, images, hole(), dilate=0, feather=0, steps=2, order="raster", batch_size=1,
        on_step=lambda step, tokens: True,
    )  # fmt: skip
    assert len(output.images) == 1
    left = output.tokens[0] == CODES
    assert int(left.sum()) == 1
    assert torch.equal(output.images[0, :, hole() == 0], images[0][:, hole() == 0])
    assert bool((output.images[0] == 0.5).all(0).any())


def wrong(call, words):
    with pytest.raises(UserError, match=words):
        call()


def test_mistakes_say_what_to_do(pipeline, images):
    whole, none, small = torch.ones(16, 24), torch.zeros(16, 24), torch.ones(8, 8)
    odd = torch.rand(3, 15, 24)
    wrong(lambda: inpaint(pipeline, ["a"], images[0], none), "covers nothing")
    wrong(lambda: inpaint(pipeline, ["a"], images[0], whole), "covers the whole image")
    wrong(lambda: inpaint(pipeline, ["a"], images[0], small), "must have one size")
    wrong(lambda: inpaint(pipeline, ["a"], images[0], hole(), dilate=9), "covers every token")
    wrong(lambda: inpaint(pipeline, ["a"], images[0], hole(), dilate=-1), "dilate=-1")
    wrong(lambda: inpaint(pipeline, ["a"], images[0], hole(), feather=-3), "feather -3")
    wrong(lambda: edit(pipeline, ["a"], odd), "multiples of 4")
    wrong(lambda: edit(pipeline, ["a"], images[:, :1]), r"\[B, 3, H, W\]")
    wrong(lambda: edit(pipeline, ["a", "b", "c"], images), "2 images for 3 prompts")
    wrong(lambda: edit(pipeline, ["a"], images[0], resolution=(32, 32)), "leave the resolution out")
    for strength in (0.0, -0.1, 1.1):
        wrong(lambda strength=strength: edit(pipeline, ["a"], images[0], strength=strength), "above 0")
    wrong(lambda: outpaint(pipeline, ["a"], images[0], (0, 0, 0, 0)), "at least one")
    wrong(lambda: outpaint(pipeline, ["a"], images[0], (3, 0, 0, 0)), "multiples of 4")
    wrong(lambda: outpaint(pipeline, ["a"], images[0], (-4, 0, 8, 0)), "above 0")
    wrong(lambda: edit(pipeline, ["a"], images[0], images_per_prompt=0), "images_per_prompt=0")
    wrong(lambda: inpaint(pipeline, ["a"], images[0], hole(), images_per_prompt=-1), "images_per_prompt=-1")


def test_images_that_are_not_numbers_from_0_to_1_are_refused(pipeline, images):
    calls = (
        lambda x: edit(pipeline, ["a"], x),
        lambda x: inpaint(pipeline, ["a"], x, hole()),
        lambda x: outpaint(pipeline, ["a"], x, (4, 0, 0, 0)),
    )
    for call in calls:
        wrong(lambda call=call: call((images[0] * 255).byte()), r"images\.float\(\) / 255")
        wrong(lambda call=call: call(images[0] * 255), "images / 255 where they are bytes")
        wrong(lambda call=call: call(images[0] * 2 - 1), r"\(images \+ 1\) / 2")
        wrong(lambda call=call: call(images[0].masked_fill(hole() > 0, float("nan"))), "from nan")
    slightly = (images[0] - 1e-6).double()  # as rounding leaves images
    assert edit(pipeline, ["a"], slightly).images.shape == (1, 3, 16, 24)


def test_ids_without_a_place_are_edited_whole_only(pipeline, images, monkeypatch):
    monkeypatch.setattr(type(pipeline.vqvae), "grid", (1, 24), raising=False)
    wrong(lambda: inpaint(pipeline, ["a"], images[0], hole()), "have no place in the image")
