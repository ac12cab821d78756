"""What the user calls an encoder, and what is opened."""

from pathlib import Path

import pytest
import torch

from mimgen.bundled import pipeline_folder
from mimgen.encoders import VitEncoder
from mimgen.errors import UserError
from mimgen.probing import extract, raw_pixels
from mimgen.probing.open import default_cache, features_of, open_encoder

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def tiny_vit() -> VitEncoder:
    return VitEncoder(32, 8, width=8, depth=2, heads=2)


def test_plain_encoders() -> None:
    loaded = open_encoder("pixels", 32)
    torch.testing.assert_close(extract(loaded.encoder, IMAGES).joined, raw_pixels(IMAGES))
    assert (loaded.name, loaded.pixels, loaded.facts["parameters"]) == ("pixels", 32, 0)
    assert open_encoder("hog:8", 32).facts["dim"] == 36
    assert open_encoder("pixels").pixels == 64
    digests = {open_encoder(*each).digest for each in (("pixels", 32), ("pixels", 64), ("pixels:8", 32), ("hog", 32))}
    assert len(digests) == 4


def test_random_vit_is_the_same_every_time_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = open_encoder("random-vit", 32)
    assert torch.equal(torch.get_rng_state(), before)
    assert first.digest == open_encoder("random-vit:0", 32).digest != open_encoder("random-vit:1", 32).digest
    assert (first.facts["patch"], first.facts["attention"]) == (4, True)
    assert open_encoder("random-vit").facts["patch"] == 8


def test_own_encoder_in_a_run_folder(tmp_path: Path) -> None:
    encoder = tiny_vit()
    encoder.save_pretrained(tmp_path / "my-run" / "encoder")
    loaded = open_encoder(str(tmp_path / "my-run"))
    assert (loaded.name, loaded.pixels, loaded.facts["kind"], loaded.facts["depth"]) == ("my-run", 32, "encoder", 2)
    assert loaded.digest == open_encoder(str(tmp_path / "my-run" / "encoder")).digest
    torch.testing.assert_close(extract(loaded.encoder, IMAGES).joined, extract(encoder, IMAGES).joined)
    assert open_encoder(str(tmp_path / "my-run"), 64).pixels == 64
    with pytest.raises(UserError, match="patches of 8 pixels, give a multiple such as 32"):
        open_encoder(str(tmp_path / "my-run"), 35)


def test_folder_of_transformers_is_recognised(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    ViTModel(ViTConfig(**sizes, image_size=32, patch_size=8)).save_pretrained(tmp_path / "some-vit")
    plain, named = open_encoder(str(tmp_path / "some-vit")), open_encoder(f"hf:{tmp_path / 'some-vit'}")
    assert plain.digest == named.digest and plain.name == "some-vit"
    assert (plain.pixels, plain.facts["kind"], plain.facts["attention"]) == (32, "vit", True)


def test_features_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMGEN_CACHE", str(tmp_path))
    assert default_cache() == tmp_path / "features"
    loaded = open_encoder("random-vit", 32)
    found = features_of(loaded, IMAGES, data="three", layers=(0, 12))
    torch.testing.assert_close(found.joined, extract(loaded.encoder, IMAGES, (0, 12)).joined)
    assert found.folder is not None and found.folder.parent == tmp_path / "features"
    assert features_of(open_encoder("random-vit", 32), IMAGES, data="three", layers=(0, 12)).folder == found.folder
    with pytest.raises(UserError, match="opened for 64 pixels, the images have 32"):
        features_of(open_encoder("pixels", 64), IMAGES)


def test_what_is_no_encoder_is_answered_with_the_forms(tmp_path: Path) -> None:
    for spec in ("nothing-here", str(tmp_path)):
        with pytest.raises(UserError, match="timm:NAME"):
            open_encoder(spec)
    with pytest.raises(UserError, match="did you mean pixels"):
        open_encoder("pixel")
    with pytest.raises(UserError, match="no whole number"):
        open_encoder("hog:x")
    with pytest.raises(UserError, match="--pixels 0"):
        open_encoder("hog", 0)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        open_encoder(str(tmp_path))


@pytest.mark.slow
def test_bundled_generator_and_tokenizer() -> None:
    generator = open_encoder("bundled")
    assert (generator.pixels, generator.facts["kind"], generator.facts["attention"]) == (64, "generator", True)
    maps = generator.encoder(torch.rand(2, 3, 64, 64), attention=(0, 1)).attention
    assert [tuple(each.shape) for each in maps] == [(2, 6, 64, 64)] * 2
    assert all(bool((each.sum(-1) < 1).all()) for each in maps)  # what is missing goes to the caption
    tokenizer = open_encoder("bundled-tokenizer")
    assert (tokenizer.pixels, tokenizer.facts["kind"], tokenizer.facts["depth"]) == (64, "tokenizer", 0)
    codes = open_encoder(f"{pipeline_folder() / 'vqvae'}@codes")
    histogram = extract(codes.encoder, torch.rand(2, 3, 64, 64)).joined
    torch.testing.assert_close(histogram.sum(1), torch.ones(2))
    assert codes.digest != tokenizer.digest
