"""Frozen teachers from encoders of ours and from saved transformers models."""

import json

import pytest
import torch
from torch.testing import assert_close

from mimgen.encoders.teachers import CLIP_MEAN, CLIP_STD, Teacher, open_teacher
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD, VitEncoder
from mimgen.errors import UserError


def images(side=16):
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def save_dinov2(folder):
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=4)
    model = Dinov2Model(config).eval()
    model.save_pretrained(folder)
    return model


def save_clip(folder):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=4
    )
    model = CLIPVisionModel(config).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    ("save", "mean", "std"), [(save_dinov2, IMAGENET_MEAN, IMAGENET_STD), (save_clip, CLIP_MEAN, CLIP_STD)]
)
def test_pooled_output_of_a_saved_model(save, mean, std, tmp_path):
    model = save(tmp_path)
    teacher = open_teacher(tmp_path)
    pixels = (images() - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        expected = model(pixels).pooler_output
    assert teacher.dim == 16
    assert_close(teacher(images()), expected)


@pytest.mark.parametrize("save", [save_dinov2, save_clip])
def test_images_are_resized_and_position_tables_too(save, tmp_path):
    save(tmp_path)
    assert open_teacher(tmp_path)(images(32)).shape == (2, 16)
    assert open_teacher(tmp_path, size=24)(images(32)).shape == (2, 16)
    with pytest.raises(UserError, match="patches of 4"):
        open_teacher(tmp_path, size=18)


def test_the_preprocessor_of_the_folder_counts(tmp_path):
    save_dinov2(tmp_path)
    before = open_teacher(tmp_path)(images())
    output = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(output))
    after = open_teacher(tmp_path)
    assert not torch.allclose(after(images()), before)
    assert_close(after.mean.flatten(), torch.zeros(3))


def test_an_encoder_of_ours_is_frozen_for_good(tmp_path):
    torch.manual_seed(0)
    encoder = VitEncoder(image_size=16, patch=4, width=16, depth=2, heads=2, drop_path=0.5)
    encoder.save_pretrained(tmp_path)
    teacher = open_teacher(tmp_path).train()
    assert not teacher.encoder.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert_close(teacher(images()), encoder.eval()(images()).prefix[:, 0])
    assert not teacher(images().requires_grad_()).requires_grad


def test_without_class_token_the_mean_patch_is_taken():
    torch.manual_seed(0)
    encoder = VitEncoder(image_size=16, patch=4, width=16, depth=1, heads=2, class_token=False, pool="mean")
    assert_close(Teacher(encoder)(images()), encoder(images()).patches.mean(1))


def test_what_is_no_teacher_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json"):
        open_teacher(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="bert"):
        open_teacher(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "dinov2"}')
    with pytest.raises(UserError, match="does not load"):
        open_teacher(tmp_path)
