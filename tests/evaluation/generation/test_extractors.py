"""Extractors: what they return, what they say about themselves, what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mimgen.encoders import VitEncoder
from mimgen.errors import UserError
from mimgen.evaluation.descriptor import describe
from mimgen.evaluation.fid import open_extractor
from mimgen.evaluation.generation import from_encoder, inception, lab_hog, transformers_folder
from mimgen.evaluation.generation.extractors import project


def make_images(n: int = 3, side: int = 32) -> Tensor:
    return torch.randint(0, 256, (n, 3, side, side), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_lab_hog_is_the_projected_descriptor() -> None:
    found = lab_hog()(make_images())
    assert torch.equal(found.features, project(describe(make_images().float() / 255)))
    assert found.logits is None
    with pytest.raises(UserError, match="want uint8 images"):
        lab_hog()(make_images().float())


def test_a_transformers_folder(tmp_path: Path) -> None:
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    model = Dinov2Model(Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28))
    model.eval().save_pretrained(tmp_path)
    extractor = transformers_folder(tmp_path)
    images = make_images(2, 28)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = model((images.float() / 255 - mean[:, None, None]) / std[:, None, None]).pooler_output
    torch.testing.assert_close(extractor(images).features, expected)
    assert extractor.name == "hf:Dinov2Model"
    assert "28 px" in extractor.resize
    before = extractor.weights
    torch.nn.init.ones_(model.layernorm.bias)
    model.save_pretrained(tmp_path)
    assert transformers_folder(tmp_path).weights != before
    with pytest.raises(UserError, match=r"no config\.json"):
        transformers_folder(tmp_path / "absent")


def test_an_encoder_of_ours() -> None:
    torch.manual_seed(0)
    encoder = VitEncoder(image_size=32, patch=8, width=16, depth=1, heads=2)
    extractor = from_encoder(encoder, "vit", "abc", 32)
    with torch.no_grad():
        tokens = encoder.eval()(make_images().float() / 255)
    expected = tokens.prefix[:, 0] if tokens.prefix.shape[1] else tokens.patches.mean(1)
    torch.testing.assert_close(extractor(make_images()).features, expected)
    assert extractor(make_images(2, 48)).features.shape == (2, 16)
    assert extractor.key["weights"] == "abc"


def test_names_and_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="choose from lab-hog, inception-v3-compat"):
        open_extractor("inception")
    with pytest.raises(UserError, match="has no weights"):
        open_extractor("lab-hog", "w.pth")
    with pytest.raises(UserError, match="has no layer '2048'"):
        open_extractor("lab-hog", layer="2048")
    with pytest.raises(UserError, match="has no layer '128'"):
        inception(None, "128")
    file = tmp_path / "other.pth"
    torch.save({"fc.weight": torch.zeros(2)}, file)
    with pytest.raises(UserError, match=r"does not fit Inception-v3"):
        inception(file)
