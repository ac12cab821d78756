"""Official checkpoints of iBOT become our folders: the backbone alone, and with its head."""

import pytest
import torch

from mimgen.checkpoints.convert import convert
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.methods.ibot.adapter import ADAPTER
from mimgen.methods.ibot.head import PrototypeHead

TOKEN = {"mask_token": "replace", "mask_token_std": 0.0}  # masked patches as iBOT shows them

OPTIONS = {"image_size": 16, "patch": 4, "width": 64, "depth": 2, "heads": 1, "position_margin": 0.1}


def parts(**options):
    torch.manual_seed(0)
    made = VitEncoder(**{**OPTIONS, **TOKEN, **options}), PrototypeHead(64, 24, 20, hidden=32, bottleneck=16)
    with torch.no_grad():
        for part in made:
            for parameter in part.parameters():
                parameter.normal_()
    return made


def official(encoder, head=None, prefix=""):
    """The state dict under the names of the release."""
    names = {"mask_token": "masked_embed"}
    tensors = {names.get(key, key): value for key, value in encoder.state_dict().items()}
    tensors |= {key: value[0] for key, value in tensors.items() if key == "masked_embed"}
    tensors = {key.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): v for key, v in tensors.items()}
    found = {prefix + key: value for key, value in tensors.items()}
    return found | {f"head.{key}": value for key, value in (head.state_dict() if head else {}).items()}


def saved(path, tensors):
    torch.save({"state_dict": tensors}, path)
    return path


@pytest.mark.parametrize("options", [{}, {"layer_scale": 0.1, "qkv_bias": False}, {"mask_token": None}])
def test_a_backbone_alone(tmp_path, options):
    encoder, _ = parts(**options)
    target = convert(ADAPTER, saved(tmp_path / "w.pth", official(encoder)), tmp_path / "made")
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(VitEncoder.from_pretrained(target)(images).patches, encoder.eval()(images).patches)
    assert not (target / "head").exists()


def test_with_head_under_the_names_of_the_multi_crop_wrapper(tmp_path):
    encoder, head = parts()
    tensors = official(encoder, head, "backbone.")
    assert all(ADAPTER.our_key(key).startswith(("encoder.", "head.")) for key in tensors)
    target = convert(ADAPTER, saved(tmp_path / "w.pth", tensors), tmp_path / "made")
    features = torch.randn(3, 64)
    again = PrototypeHead.from_pretrained(target / "head")
    torch.testing.assert_close(again.patches(again.features(features)), head.patches(head.features(features)))
    images = torch.rand(1, 3, 16, 16)
    assert torch.equal(VitEncoder.from_pretrained(target)(images).prefix, encoder.eval()(images).prefix)


def test_a_whole_checkpoint_holds_student_and_teacher(tmp_path):
    encoder, head = parts()
    teacher = {f"module.{key}": value for key, value in official(encoder, head, "backbone.").items()}
    student = {key: torch.zeros_like(value) for key, value in teacher.items()}
    torch.save({"student": student, "teacher": teacher, "epoch": 3}, tmp_path / "checkpoint.pth")
    with pytest.raises(UserError, match="--weights ema"):
        convert(ADAPTER, tmp_path / "checkpoint.pth", tmp_path / "made")
    target = convert(ADAPTER, tmp_path / "checkpoint.pth", tmp_path / "made", weights="ema")
    assert torch.equal(VitEncoder.from_pretrained(target).pos_embed, encoder.pos_embed)


def test_heads_follow_from_the_width_or_the_config():
    tensors = official(*parts())
    assert ADAPTER.arguments({}, tensors)["heads"] == 1
    reported = ADAPTER.arguments({"num_heads": 4, "norm_last_layer": False}, tensors)
    assert reported["heads"] == 4 and not reported["head"]["fixed_gain"]
    assert reported["head"]["patch_prototypes"] == 20 and reported["head"]["layers"] == 3


def test_what_is_missing_is_listed(tmp_path):
    tensors = official(*parts())
    del tensors["norm.bias"]
    with pytest.raises(UserError, match=r"missing encoder\.norm\.bias"):
        convert(ADAPTER, saved(tmp_path / "x.pth", tensors), tmp_path / "made")
    with pytest.raises(UserError, match="is not ibot"):
        convert(ADAPTER, saved(tmp_path / "y.pth", {"weight": torch.zeros(2)}), tmp_path / "made")
