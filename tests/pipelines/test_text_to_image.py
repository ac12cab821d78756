"""Generating: several images per prompt, negative prompts, micro-conditions, sizes, previews, cancelling."""

from __future__ import annotations

import pytest
import torch

from mimgen.errors import UserError
from mimgen.generators import MeissonicTransformer
from mimgen.pipelines import TextToImagePipeline
from mimgen.pipelines.previews import greyed
from tests.pipelines.tiny import CODES, tiny_pipeline

PROMPTS = ["red apple", "blue car", "green tree"]


@pytest.fixture(scope="module")
def pipeline() -> TextToImagePipeline:
    return tiny_pipeline()


def test_several_images_of_a_prompt(pipeline):
    output = pipeline(PROMPTS, images_per_prompt=2, seed=list(range(6)), batch_size=4)
    assert len(output.images) == 6
    again = pipeline([PROMPTS[1]] * 2, seed=[2, 3])
    assert torch.equal(output.tokens[2:4], again.tokens)


def test_a_negative_prompt_for_each(pipeline):
    words = ["dog", "", "dog"]
    each = pipeline(PROMPTS, negative_prompt=words, guidance_scale=6.0, seed=[1, 2, 3])
    for position, (prompt, word) in enumerate(zip(PROMPTS, words)):
        alone = pipeline([prompt], negative_prompt=word, guidance_scale=6.0, seed=1 + position)
        assert torch.equal(each.tokens[position], alone.tokens[0])


def test_micro_conditions_reach_the_model(pipeline, monkeypatch):
    reported = []
    from mimgen.pipelines import base

    unmask = base.unmask
    monkeypatch.setattr(
        base, "unmask", lambda predict, *a, **k: reported.append(predict.condition.sizes) or unmask(predict, *a, **k)
    )
    pipeline(["cat"])
    pipeline(["cat"], crop=(3, 5), score=7.5, original_size=(100, 200))
    assert reported == [(24, 16, 0, 0, 6.0), (200, 100, 3, 5, 7.5)]


def test_a_start_is_drawn_onto(pipeline):
    start = torch.full((1, 4, 6), CODES)
    start[0, 1:3] = 7
    output = pipeline(PROMPTS, initial_tokens=start)
    assert bool((output.tokens[:, 1:3] == 7).all()) and bool((output.unmasked_at[:, 1:3] == -1).all())
    assert bool((output.unmasked_at[:, 0] >= 0).all())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"initial_tokens": torch.zeros(1, 6, 4, dtype=torch.long)}, r"give ids \[3, 4, 6\]"),
        ({"initial_tokens": torch.zeros(2, 4, 6, dtype=torch.long)}, r"give ids \[3, 4, 6\]"),
        ({"strength": 0.5}, "needs an image"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"resolution": (18, 24)}, "multiples of 4"),
        ({"resolution": (0, 24)}, "at least 4 px"),
        ({"steps": -2}, "at least one step"),
        ({"on_preview": print, "preview_every": 0}, "every 0 steps"),
        ({"token_temperature": -1.0}, "temperature"),
    ],
)
def test_mistakes(pipeline, options, words):
    with pytest.raises(UserError, match=words):
        pipeline(PROMPTS, **options)


def test_any_size(pipeline):
    output = pipeline(["cat"], resolution=(32, 8))
    assert output.images.shape == (1, 3, 32, 8) and output.tokens.shape == (1, 8, 2)
    assert pipeline.preset.resolution == (16, 24)


def test_previews_are_grey_where_nothing_is_drawn_yet(pipeline):
    seen = []
    output = pipeline(PROMPTS, batch_size=2, on_preview=seen.append, preview_every=2)
    assert [(shown.step, shown.first, len(shown.images)) for shown in seen] == [
        (1, 0, 2), (3, 0, 2), (1, 2, 1), (3, 2, 1)
    ]  # fmt: skip
    assert torch.equal(seen[1].images, output.images[:2])
    assert bool((seen[0].images == 0.5).all(1).any()) and not bool((output.images == 0.5).all(1).any())


@pytest.mark.parametrize("way", ["on_step", "on_preview"])
def test_cancelling_leaves_later_batches_out(pipeline, way):
    calls = []

    def stop(*args):
        calls.append(args)
        return len(calls) == 5  # the first step of the second batch

    output = pipeline(PROMPTS, batch_size=1, **{way: stop})
    assert len(calls) == 5 and len(output.images) == len(output.tokens) == 2
    assert bool((output.tokens[0] < CODES).all()) and bool((output.tokens[1] == CODES).any())


def test_a_grid_of_another_shape_is_left_as_it_is():
    images = torch.zeros(1, 3, 8, 8)
    assert torch.equal(greyed(images, torch.ones(1, 1, 32, dtype=torch.bool)), images)
    assert float(greyed(images, torch.eye(2, dtype=torch.bool)[None]).mean()) == 0.25


def test_warnings_of_grids_that_were_not_trained():
    model = MeissonicTransformer(
        1, 1, 16, 2, 12, 32, vocab_size=41, codebook_size=40, downsample=True, upsample=True, places=(4, 4)
    )
    with pytest.warns(UserWarning, match="stretched to 5"), pytest.warns(UserWarning, match="does not halve"):
        model.check_grid((5, 4))
    with pytest.warns(UserWarning, match="4 x 4 tokens; they are stretched to 6 x 4"):
        model.check_grid((6, 4))
