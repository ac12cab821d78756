"""Generators of classes and of nothing: one pipeline base, saving, messages, and a strength."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mimgen.data import Sample
from mimgen.errors import UserError
from mimgen.generators import ClassTransformer, Generator, MageTransformer, TiTokMaskGit
from mimgen.generators.mage.model import released_preset as mage_preset
from mimgen.generators.titok_maskgit.model import released_preset as titok_preset
from mimgen.pipelines import ClassToImagePipeline, Preset, TextToImagePipeline, edit, load_pipeline
from mimgen.pipelines.load import pipeline_of
from mimgen.pipelines.open import open_text_pipeline
from mimgen.probing.open import open_encoder
from mimgen.tokenizers import ConvTokenizer

CODES, NAMES = 40, ("cat", "dog", "tench, Tinca tinca")


def generator(name: str) -> Generator:
    torch.manual_seed(0)
    if name == "maskgit":
        made = ClassTransformer(side=4, codebook_size=CODES, classes=3, width=16, depth=1, heads=2, hidden=48)
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.3)  # fresh blocks are the identity, whatever the class
        return made.eval()
    if name == "titok_maskgit":
        return TiTokMaskGit(codebook_size=CODES, length=16, classes=3, width=16, depth=2, heads=2, hidden=32).eval()
    return MageTransformer(
        side=4, codebook_size=CODES, width=16, depth=1, heads=2, decoder_width=16, decoder_depth=1, decoder_heads=2
    ).eval()


def pipeline(name: str, **preset: object):
    transformer = generator(name)
    tokenizer = ConvTokenizer(channels=8, multipliers=(1,), blocks=1, stem=4, quantizer="fsq", levels=(5, 8)).eval()
    usual = {"maskgit": {"steps": 4, "guidance_rule": "linear"}, "mage": mage_preset(4)}.get(name, titok_preset(4))
    more = {} if name == "mage" else {"classes": NAMES, "label": "kind"}
    settings = Preset(**{"resolution": (16, 16), **usual, **preset})
    return pipeline_of(settings, transformer=transformer, vqvae=tokenizer, **more)


ASKED = {"maskgit": [0, "dog", "2"], "titok_maskgit": [0, "dog", "2"], "mage": [None] * 3}


@pytest.mark.parametrize("name", list(ASKED))
def test_saved_and_loaded_it_generates_the_same(name: str, tmp_path: Path) -> None:
    made = pipeline(name)
    output = made(ASKED[name], seed=[1, 2, 3])
    assert output.images.shape == (3, 3, 16, 16) and bool((output.tokens < CODES).all())
    made.save(tmp_path)
    again = load_pipeline(tmp_path)
    assert type(again) is type(made)
    assert torch.equal(again(ASKED[name], seed=[1, 2, 3]).tokens, output.tokens)
    alone = again(ASKED[name][1:2], seed=2)
    assert torch.equal(alone.tokens[0], output.tokens[1]), "an image depends on its own seed only"
    assert output.step_log_probs(4).shape == (3, 4)
    with pytest.raises(UserError, match="not a MeissonicPipeline"):
        TextToImagePipeline.load(tmp_path)


def test_names_are_numbers_and_differ() -> None:
    made = pipeline("maskgit", guidance_scale=4.0)
    named, numbered = made(["dog"], seed=1), made([1], seed=1)
    assert torch.equal(named.tokens, numbered.tokens)
    assert not torch.equal(named.tokens, made([0], seed=1).tokens)


def test_editing_starts_from_an_image() -> None:
    made = pipeline("maskgit")
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    output = edit(made, [1], images, strength=0.3)
    kept = output.unmasked_at == -1
    assert 0 < int(kept.sum()) < 16
    assert torch.equal(output.tokens[kept], made.encode(images)[kept])


@pytest.mark.parametrize(
    ("name", "asked", "options", "words"),
    [
        ("maskgit", [3], {}, "class 3 does not exist: give a number from 0 to 2"),
        ("maskgit", ["dogg"], {}, "did you mean dog"),
        ("maskgit", [None], {}, "generates classes"),
        ("maskgit", [0], {"negative_prompt": "blue"}, "models that read captions"),
        ("maskgit", [0], {"resolution": (16, 24)}, "4 x 6 tokens for a transformer of 4 x 4"),
        ("titok_maskgit", [0], {"resolution": (32, 16)}, "made for 16"),
        ("mage", ["a cat"], {}, "unconditional"),
        ("mage", [None], {"guidance_scale": 2.0}, "guidance needs a condition"),
    ],
)
def test_mistakes(name: str, asked: list, options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        pipeline(name)(asked, **options)


def test_what_an_image_would_be_asked_for_with() -> None:
    sample = Sample(torch.zeros(3, 16, 16, dtype=torch.uint8), "a dog", {"kind": 1})
    assert pipeline("maskgit").request_of(sample) == 1
    assert pipeline("mage").request_of(sample) is None
    with pytest.raises(UserError, match='labels "kind"'):
        pipeline("maskgit").request_of(replace(sample, labels={"group": 3}))


def test_a_generator_has_one_kind_of_pipeline() -> None:
    tokenizer = pipeline("mage").vqvae
    with pytest.raises(UserError, match="conditioned on none"):
        ClassToImagePipeline(generator("mage"), tokenizer, Preset())
    with pytest.raises(UserError, match="2 names for 3 classes"):
        ClassToImagePipeline(generator("maskgit"), tokenizer, Preset(), NAMES[:2])
    assert all(isinstance(generator(name), Generator) for name in ASKED)
    assert not isinstance(tokenizer, Generator)


@pytest.mark.parametrize("name", ["maskgit", "mage"])
def test_what_reads_captions_refuses_other_generators(name: str, tmp_path: Path) -> None:
    pipeline(name).save(tmp_path)
    for opened in (open_text_pipeline, open_encoder):
        with pytest.raises(UserError, match="does not read captions: pass a text-to-image model"):
            opened(str(tmp_path))
