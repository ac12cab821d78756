"""timm's models as encoders, untrained and small."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mimgen.encoders.foreign_timm import TimmEncoder, open_timm
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.errors import UserError

timm = pytest.importorskip("timm")
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def small_vit(**changes: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 0}
    return timm.models.vision_transformer.VisionTransformer(**{**sizes, **changes}).eval()


@torch.no_grad()
def test_tokens_are_timms_own() -> None:
    model = small_vit(reg_tokens=2)
    encoder = TimmEncoder(model, IMAGENET_MEAN, IMAGENET_STD, 32)
    tokens = encoder(IMAGES, layers=(-1, 0))
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    normalised = (IMAGES - mean) / std
    torch.testing.assert_close(torch.cat([tokens.prefix, tokens.patches], 1), model.forward_features(normalised))
    assert tokens.prefix.shape == (2, 3, 16) and tokens.grid == (4, 4)
    assert (encoder.dim, encoder.depth, encoder.patch) == (16, 2, 8)
    # levels come in the order asked for, before the last norm
    torch.testing.assert_close(model.norm(tokens.levels[0]), tokens.patches)
    x = model.patch_embed(normalised)
    first = model.blocks[0](model.norm_pre(model._pos_embed(x)))
    torch.testing.assert_close(tokens.levels[1], first[:, 3:])


@torch.no_grad()
def test_attention_maps_are_those_that_the_block_used() -> None:
    model = small_vit()
    encoder = TimmEncoder(model, IMAGENET_MEAN, IMAGENET_STD, 32)
    before = encoder(IMAGES).patches
    fused = [block.attn.fused_attn for block in model.blocks]
    tokens = encoder(IMAGES, attention=(1,))
    attn = model.blocks[1].attn
    states = model.blocks[0](model._pos_embed(model.patch_embed(encoder.normalised(IMAGES)[0])))
    q, k, _ = attn.qkv(model.blocks[1].norm1(states)).reshape(2, 17, 3, 2, 8).permute(2, 0, 3, 1, 4)
    torch.testing.assert_close(tokens.attention[0], (q @ k.transpose(-2, -1) / 8**0.5).softmax(-1))
    torch.testing.assert_close(tokens.patches, before)
    assert [block.attn.fused_attn for block in model.blocks] == fused
    assert not attn.attn_drop._forward_pre_hooks


@torch.no_grad()
def test_stages_of_a_convolutional_model() -> None:
    kind = timm.models.resnet
    model = kind.ResNet(kind.BasicBlock, (1, 1, 1, 1), num_classes=0, channels=(8, 8, 16, 16))
    encoder = TimmEncoder(model.eval(), IMAGENET_MEAN, IMAGENET_STD, 32)
    tokens = encoder(IMAGES, layers=(1, -1))
    assert (encoder.depth, encoder.patch, encoder.dim) == (5, 32, 16)
    assert tokens.levels[0].shape == (2, 64, 8) and tokens.grid == (1, 1)
    expected = model.forward_features(encoder.normalised(IMAGES)[0])
    torch.testing.assert_close(tokens.patches, expected.flatten(2).transpose(1, 2))
    with pytest.raises(UserError, match="no attention maps"):
        encoder(IMAGES, attention=(0,))


def test_weights_from_a_file_are_loaded_strictly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = small_vit()
    made.pretrained_cfg = {"classifier": "head", "mean": (0.1, 0.2, 0.3), "std": (1, 1, 1), "input_size": (3, 32, 32)}
    monkeypatch.setattr(timm, "create_model", lambda name, **options: made)
    tensors = {name: torch.full_like(value, 0.25) for name, value in made.state_dict().items()}
    file = tmp_path / "weights.safetensors"
    save_file({**tensors, "head.weight": torch.zeros(5, 16)}, file)
    encoder = open_timm("vit_tiny_patch16_224", str(file))
    assert all(bool((value == 0.25).all()) for value in encoder.model.state_dict().values())
    torch.testing.assert_close(encoder.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    save_file({"norm.weight": torch.zeros(16)}, file)
    with pytest.raises(UserError, match="missing"):
        open_timm("vit_tiny_patch16_224", str(file))
    with pytest.raises(UserError, match=r"no \.safetensors file"):
        open_timm("vit_tiny_patch16_224", str(tmp_path / "weights.pth"))


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    made = small_vit()
    made.pretrained_cfg = {"hf_hub_id": "nobody/nothing", "input_size": (3, 32, 32)}
    monkeypatch.setattr(timm, "create_model", lambda name, **options: made)
    with pytest.raises(UserError, match="hf download nobody/nothing"):
        open_timm("vit_tiny_patch16_224")
    with pytest.raises(UserError, match="timm has no model 'vit_tinny'"):
        open_timm("vit_tinny")
