"""Teachers of patch features from folders: CLIP with its projection, DINOv2, encoders of ours."""

import pytest
import torch
import torch.nn.functional as F

from mimgen.encoders.beit import BeitEncoder
from mimgen.encoders.patch_teachers import open_patch_teacher
from mimgen.errors import UserError


def make_images():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_clip_gives_projected_patches(tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    model = CLIPVisionModelWithProjection(
        CLIPVisionConfig(hidden_size=16, intermediate_size=32, projection_dim=8, num_hidden_layers=1,
                         num_attention_heads=2, image_size=16, patch_size=4)
    ).eval()  # fmt: skip
    model.save_pretrained(tmp_path)
    teacher = open_patch_teacher(tmp_path)
    assert (teacher.dim, teacher.patch) == (8, 4)
    tokens = teacher(make_images())
    assert tokens.patches.shape == (2, 16, 8)
    assert tokens.grid == (4, 4)
    # The class token goes the same way as in the model, so the patches do too.
    pixels = (make_images() - teacher.teacher.mean) / teacher.teacher.std
    torch.testing.assert_close(tokens.prefix[:, 0], model(pixels).image_embeds, atol=1e-5, rtol=1e-4)
    bigger = F.interpolate(make_images(), scale_factor=2.0)
    assert teacher(bigger).patches.shape == (2, 16, 8)


def test_dinov2_drops_its_prefix(tmp_path):
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=4,
        num_register_tokens=3,
    )  # fmt: skip
    Dinov2WithRegistersModel(config).save_pretrained(tmp_path)
    tokens = open_patch_teacher(tmp_path)(make_images())
    assert tokens.patches.shape == (2, 16, 16)
    assert tokens.prefix.shape == (2, 4, 16)


def test_an_encoder_of_ours(tmp_path):
    BeitEncoder(16, 4, 16, 1, 2).save_pretrained(tmp_path)
    assert open_patch_teacher(tmp_path).dim == 16
    with pytest.raises(UserError, match=r"config\.json"):
        open_patch_teacher(tmp_path / "absent")
