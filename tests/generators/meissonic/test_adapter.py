"""Meissonic's release folder, on a tiny one that the test writes as the authors do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mimgen.checkpoints.convert import convert
from mimgen.errors import UserError
from mimgen.generators import MeissonicTransformer
from mimgen.generators.meissonic.adapter import ADAPTER
from mimgen.pipelines import MeissonicPipeline, TextToImagePipeline

WORDS = ["<|startoftext|>", "<|endoftext|>", "red</w>", "car</w>", *"redca", "r</w>", "d</w>", "re", "ca"]
CONFIG: dict[str, Any] = {
    "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
    "joint_attention_dim": 16, "pooled_projection_dim": 32, "pooled_text_dim": 12, "vocab_size": 45,
    "codebook_size": 40, "downsample": True, "upsample": True,
}  # fmt: skip


def release(folder: Path, variant: str = "", mask: int = 44) -> Path:
    from diffusers import VQModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    torch.manual_seed(0)
    transformer = MeissonicTransformer(**CONFIG)
    vqvae = VQModel(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4, num_vq_embeddings=40,
        lookup_from_codebook=True,
    )  # fmt: skip
    clip = CLIPTextModelWithProjection(CLIPTextConfig(
        vocab_size=16, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=8, projection_dim=12, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    ))  # fmt: skip
    half = {name: part.half() if variant else part for name, part in
            (("transformer", transformer), ("vqvae", vqvae), ("text_encoder", clip))}  # fmt: skip
    for name, part in half.items():
        (folder / name).mkdir(parents=True)
        stem = "model" if name == "text_encoder" else "diffusion_pytorch_model"
        tensors = {key: value.contiguous() for key, value in part.state_dict().items()}
        save_file(tensors, folder / name / f"{stem}{variant}.safetensors")
    write(folder / "transformer" / "config.json", {"_class_name": "Transformer2DModel", **CONFIG})
    write(folder / "vqvae" / "config.json", {"_class_name": "VQModel", **dict(vqvae.config)})
    clip.config.architectures = ["CLIPTextModelWithProjection"]  # as transformers writes it
    clip.config.save_pretrained(folder / "text_encoder")
    vocabulary, merges = folder / "v.json", folder / "m.txt"
    write(vocabulary, {word: position for position, word in enumerate(dict.fromkeys(WORDS))})
    merges.write_text("#version: 0.2\nr e\nre d</w>\nc a\nca r</w>\n")
    CLIPTokenizer(str(vocabulary), str(merges), model_max_length=8).save_pretrained(folder / "tokenizer")
    (folder / "scheduler").mkdir()
    write(folder / "scheduler" / "scheduler_config.json", {"_class_name": "Scheduler", "mask_token_id": mask})
    write(folder / "model_index.json", {"_class_name": "Pipeline"})
    return folder


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, default=str))


@pytest.mark.parametrize("variant", ["", ".fp16"])
def test_folder_becomes_a_pipeline(tmp_path: Path, variant: str) -> None:
    source = release(tmp_path / "source", variant)
    target = convert(ADAPTER, source, tmp_path / "target")
    pipeline = TextToImagePipeline.load(target)
    assert (pipeline.preset.resolution, pipeline.preset.timestep_mode) == ((1024, 1024), "steps")
    assert pipeline.transformer.mask_id == 44
    kept = load_file(source / "transformer" / f"diffusion_pytorch_model{variant}.safetensors")
    assert all(torch.equal(value, kept[key].float()) for key, value in pipeline.transformer.state_dict().items())
    stored = load_file(target / "transformer" / "diffusion_pytorch_model.safetensors")
    assert next(iter(stored.values())).dtype == (torch.float16 if variant else torch.float32)
    if not variant:
        sampled = pipeline(["red car"], resolution=(16, 16), steps=2)
        assert sampled.images.shape == (1, 3, 16, 16)


@pytest.mark.parametrize("variant", ["", ".fp16"])
def test_release_opens_without_conversion(tmp_path: Path, variant: str) -> None:
    source = release(tmp_path / "source", variant)
    converted = TextToImagePipeline.load(convert(ADAPTER, source, tmp_path / "target"))
    direct = MeissonicPipeline.from_pretrained(source)
    direct.set_progress_bar_config(disable=True)
    assert direct.preset == converted.preset
    assert direct.dtype == torch.float32
    changes = {"resolution": (16, 16), "steps": 2, "guidance_scale": 2.0}
    sampled = direct("red car", output_type="pt", seed=3, **changes)
    assert torch.equal(sampled.tokens, converted(["red car"], seed=3, **changes).tokens)
    if variant:
        named = MeissonicPipeline.from_pretrained(source, variant="fp16", torch_dtype=torch.float16)
        assert named.transformer.dtype == named.vqvae.model.dtype == torch.float16


def test_another_text_encoder_and_another_schedule(tmp_path: Path) -> None:
    source = release(tmp_path / "source")
    other = TextToImagePipeline.load(source).text_encoder
    write(source / "scheduler" / "scheduler_config.json", {"mask_token_id": 44, "masking_schedule": "linear"})
    given = MeissonicPipeline.from_pretrained(source, text_encoder=other)
    assert given.text_encoder is other
    assert given.preset.schedule == "linear"
    with pytest.raises(TypeError, match="not a part: safety_checker"):
        MeissonicPipeline.from_pretrained(source, safety_checker=None)
    write(source / "scheduler" / "scheduler_config.json", {"mask_token_id": 7})
    with pytest.raises(UserError, match="masks with id 7"):
        TextToImagePipeline.load(source)


def test_transformer_alone_with_and_without_config(tmp_path: Path) -> None:
    source = release(tmp_path / "source") / "transformer"
    convert(ADAPTER, source, tmp_path / "with")
    (source / "config.json").unlink()
    convert(ADAPTER, source, tmp_path / "without")
    read = [MeissonicTransformer.from_pretrained(tmp_path / name).config for name in ("with", "without")]
    assert read[0] == read[1]


def test_mismatches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="masks with id 7"):
        convert(ADAPTER, release(tmp_path / "mask", mask=7), tmp_path / "out")
    source = release(tmp_path / "parts")
    (source / "scheduler").rename(tmp_path / "away")
    with pytest.raises(UserError, match="lacks scheduler"):
        convert(ADAPTER, source, tmp_path / "out")
    (tmp_path / "away").rename(source / "scheduler")
    path = source / "vqvae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors.pop("quantize.embedding.weight")
    save_file(tensors, path)
    with pytest.raises(UserError, match=r"1 missing: quantize\.embedding\.weight"):
        convert(ADAPTER, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
