"""Meissonic's release: the whole folder to a pipeline folder of ours, or its transformer alone to a part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimgen import __version__
from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.convert import model_card, number_format
from mimgen.checkpoints.read import read_checkpoint, read_config
from mimgen.checkpoints.sizes import numbered
from mimgen.encoders import ClipTextEncoder
from mimgen.errors import UserError
from mimgen.files import write_atomically
from mimgen.generators import MeissonicTransformer
from mimgen.generators.meissonic.predictor import check_scheduler, released_preset
from mimgen.pretrained import load_strictly
from mimgen.tokenizers import DiffusersVQ

__all__ = ["ADAPTER", "convert_folder"]

PARTS = ("transformer", "vqvae", "text_encoder", "tokenizer", "scheduler")


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments: the fields of config.json; without one, read off the tensors."""
    given = {name: value for name, value in config.items() if not name.startswith("_")}
    if given:
        return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    width = tensors["project_to_hidden.weight"].shape[0]
    head = tensors["single_transformer_blocks.0.attn.norm_q.weight"].shape[0]
    return {
        "num_layers": numbered(tensors, "transformer_blocks."),
        "num_single_layers": numbered(tensors, "single_transformer_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": tensors["context_embedder.weight"].shape[1],
        "pooled_projection_dim": width,
        "pooled_text_dim": tensors["cond_embed.linear_1.weight"].shape[1] - 5 * 256,
        "vocab_size": tensors["embed.embeddings.weight"].shape[0],
        "codebook_size": tensors["mlm_layer.conv2.weight"].shape[0],
        "downsample": any(key.startswith("down_block.") for key in tensors),
        "upsample": any(key.startswith("up_block.") for key in tensors),
    }


def convert_folder(source: Path, target: Path) -> None:
    """Write transformer, vqvae, text encoder with its tokenizer, and model_index.json into `target`.

    Half-precision variants (`*.fp16.safetensors`) are read where there is nothing else.

    Raises:
        UserError: a part is missing or does not fit, or transformer and scheduler disagree on the mask id.
    """
    missing = [name for name in PARTS if not (source / name).is_dir()]
    if missing:
        raise UserError(f"{source} lacks {', '.join(missing)}/: download the whole release, or pass its transformer/")
    checkpoint = read_checkpoint(source / "transformer")
    transformer: MeissonicTransformer = ADAPTER.build(checkpoint)
    check_scheduler(read_config(source / "scheduler" / "scheduler_config.json"), transformer)
    dtype = number_format(checkpoint.tensors)
    transformer.save_pretrained(target / "transformer", dtype=dtype)
    _vqvae(source / "vqvae").save_pretrained(target / "vqvae")
    _text_encoder(source / "text_encoder", source / "tokenizer").save_pretrained(target / "text_encoder")
    card = model_card(ADAPTER, "MeissonicPipeline", checkpoint.path, "model")
    (target / "README.md").write_text(card, encoding="utf-8")
    index = json.dumps(_index(transformer), indent=2) + "\n"
    write_atomically(target / "model_index.json", index)


def _index(transformer: MeissonicTransformer) -> dict[str, Any]:
    """How the authors sample; fields as of the pipeline's preset."""
    return {
        "_class_name": "MeissonicPipeline", "_mimgen_version": __version__, **released_preset(transformer),
        "transformer": ["mimgen.generators.meissonic.model", "MeissonicTransformer"],
        "vqvae": ["mimgen.tokenizers.diffusers_models", "DiffusersVQ"],
        "text_encoder": ["mimgen.encoders.clip", "ClipTextEncoder"],
    }  # fmt: skip


def _vqvae(folder: Path) -> DiffusersVQ:
    from diffusers import VQModel

    config = read_config(folder / "config.json")
    if config.get("_class_name", "VQModel") != "VQModel":
        raise UserError(f"{folder} holds a {config['_class_name']}; Meissonic's vqvae is a VQModel")
    model = VQModel.from_config(config)
    checkpoint = read_checkpoint(folder)
    load_strictly(model, checkpoint.tensors, str(checkpoint.path))
    return DiffusersVQ(model.to(number_format(checkpoint.tensors) or torch.float32).eval())


def _text_encoder(folder: Path, tokenizer: Path) -> ClipTextEncoder:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    model = CLIPTextModelWithProjection(CLIPTextConfig.from_dict(read_config(folder / "config.json")))
    checkpoint = read_checkpoint(folder)
    # older files hold the numbers 0, 1, 2, ... of the positions, which transformers no longer stores
    tensors = {key: value for key, value in checkpoint.tensors.items() if not key.endswith(".position_ids")}
    load_strictly(model, tensors, str(checkpoint.path))
    model = model.to(number_format(tensors) or torch.float32)
    return ClipTextEncoder(model, CLIPTokenizer.from_pretrained(tokenizer, local_files_only=True))


ADAPTER = StateDictAdapter(
    name="meissonic",
    about="viiika/Meissonic: text to image at 1024 or 512 px; the whole folder, or its transformer/ alone",
    kind=MeissonicTransformer,
    arguments=arguments,
    folder=convert_folder,
)
