"""Models of transformers as encoders: small random ones, saved to a folder and read back."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mimgen.encoders.digest import digest_of
from mimgen.encoders.foreign_hf import TransformersEncoder, open_transformers, usual_side
from mimgen.encoders.teachers import CLIP_MEAN, CLIP_STD
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.errors import UserError

SIZES = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "image_size": 16, "patch_size": 4,
}  # fmt: skip
IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
PREFIXES = {"vit": 1, "deit": 2, "vit_mae": 1, "beit": 1, "dinov2": 1, "dinov2_with_registers": 5, "ijepa": 0,
            "clip_vision_model": 1}  # fmt: skip


def model_of(kind: str) -> Any:
    from transformers import (
        AutoConfig,
        AutoModel,
        CLIPVisionConfig,
        CLIPVisionModel,
        ViTMAEForPreTraining,
    )

    extra: dict[str, Any] = {"use_relative_position_bias": True, "vocab_size": 8} if kind == "beit" else {}
    if kind == "vit_mae":
        extra = {f"decoder_{name}": value for name, value in SIZES.items() if "size" in name or "num" in name}
    torch.manual_seed(0)
    if kind == "clip_vision_model":
        model = CLIPVisionModel(CLIPVisionConfig(**SIZES))
    else:
        config = AutoConfig.for_model(kind, **SIZES, **extra)
        model = ViTMAEForPreTraining(config) if kind == "vit_mae" else AutoModel.from_config(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def saved(kind: str, folder: Path) -> TransformersEncoder:
    model_of(kind).save_pretrained(folder)
    return open_transformers(folder)


@pytest.mark.parametrize("kind", PREFIXES)
@torch.no_grad()
def test_tokens_levels_and_attention(kind: str, tmp_path: Path) -> None:
    encoder = saved(kind, tmp_path)
    tokens = encoder(IMAGES, layers=(0, -1), attention=(1,))
    prefix = PREFIXES[kind]
    assert (encoder.dim, encoder.depth, encoder.patch, usual_side(encoder)) == (16, 2, 4, 16)
    assert tokens.patches.shape == (2, 16, 16) and tokens.prefix.shape == (2, prefix, 16)
    assert [level.shape for level in tokens.levels] == [(2, 16, 16)] * 2
    assert tokens.attention[0].shape == (2, 2, 16 + prefix, 16 + prefix)
    torch.testing.assert_close(tokens.attention[0].sum(-1), torch.ones(2, 2, 16 + prefix))
    assert not torch.allclose(tokens.levels[0], tokens.levels[1])
    # asking for maps changes the kernel, not the outcome
    torch.testing.assert_close(encoder(IMAGES).patches, tokens.patches, atol=1e-4, rtol=1e-4)
    assert encoder(torch.rand(1, 3, 24, 16)).grid == (6, 4)
    last_norm = {"clip_vision_model": "post_layernorm"}.get(kind, "layernorm")
    core: Any = getattr(encoder.model, "vision_model", encoder.model)
    torch.testing.assert_close(getattr(core, last_norm)(tokens.levels[1]), tokens.patches)


@torch.no_grad()
def test_output_is_the_models_own(tmp_path: Path) -> None:
    encoder = saved("dinov2", tmp_path)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    expected = model_of("dinov2")((IMAGES - mean) / std).last_hidden_state
    tokens = encoder(IMAGES)
    torch.testing.assert_close(torch.cat([tokens.prefix, tokens.patches], 1), expected)


@torch.no_grad()
def test_mae_sees_every_patch_in_its_place(tmp_path: Path) -> None:
    encoder = saved("vit_mae", tmp_path)
    torch.testing.assert_close(encoder(IMAGES).patches, encoder(IMAGES).patches)  # by default it samples a mask
    for block in encoder.model.layers:  # type: ignore[union-attr]  # without blocks per token sees its patch alone
        torch.nn.init.zeros_(block.attention.o_proj.weight)
    changed = IMAGES.clone()
    changed[:, :, 4:8, 12:16] = 0  # row 1, column 3
    moved = (encoder(changed).patches - encoder(IMAGES).patches).abs().amax((0, 2)) > 1e-5
    assert moved.nonzero().flatten().tolist() == [7]


def test_normalisation_comes_from_the_folder(tmp_path: Path) -> None:
    assert saved("vit", tmp_path).mean.flatten().tolist() == [0.5] * 3
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0, 0.1, 0.2], "image_std": [1, 2, 3]}')
    encoder = open_transformers(tmp_path)
    torch.testing.assert_close(encoder.mean.flatten(), torch.tensor([0, 0.1, 0.2]))
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false, "image_mean": [1, 1, 1]}')
    assert open_transformers(tmp_path).std.flatten().tolist() == [1.0] * 3
    clip = saved("clip_vision_model", tmp_path / "clip")
    torch.testing.assert_close(clip.mean.flatten(), torch.tensor(CLIP_MEAN))
    torch.testing.assert_close(clip.std.flatten(), torch.tensor(CLIP_STD))


def test_digest_does_not_depend_on_a_pooler_that_is_not_read(tmp_path: Path) -> None:
    first = saved("vit", tmp_path)
    torch.manual_seed(1)
    second = open_transformers(tmp_path)
    assert first.model.pooler is None
    assert digest_of(first, first.settings) == digest_of(second, second.settings)


def test_wrong_input_is_named(tmp_path: Path) -> None:
    encoder = saved("vit", tmp_path)
    with pytest.raises(UserError, match="do not divide into patches of 4"):
        encoder(torch.rand(1, 3, 18, 16))
    with pytest.raises(UserError, match="layer 2 does not exist"):
        encoder(IMAGES, layers=(2,))
    with pytest.raises(UserError, match=r"\[B, 3, H, W\]"):
        encoder(IMAGES[:, :1])
    with pytest.raises(UserError, match=r"no config\.json"):
        open_transformers(tmp_path / "nothing")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="bert model: known are vit"):
        open_transformers(tmp_path)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    saved("vit", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in tensors if "layernorm.weight" in name)
    save_file({name: value for name, value in tensors.items() if name != gone}, tmp_path / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    with pytest.raises(UserError, match="lacks 1 weights"):
        open_transformers(tmp_path)
