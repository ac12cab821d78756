"""Frozen teachers: images to one vector each, for objectives that align a student's class token.

A teacher is an encoder of ours, or DINOv2 or CLIP's vision tower from a folder on disk; nothing is downloaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.encoders.contract import Encoder
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.errors import UserError
from mimgen.pretrained import load_pretrained, read_config
from mimgen.types import Tokens

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
USUAL_SIDE = 224  # pixels that DINOv2's pooled features are read at; its position table is for 518


class Teacher(nn.Module):
    """A frozen encoder of ours that returns one vector per image: its class token, else its mean patch.

    Args:
        encoder: images [B, 3, H, W] in [0, 1] to `Tokens`; it is frozen here, in evaluation mode for good.
        size: side in pixels that images are resized to; None takes them as they come.

    Attributes:
        dim: width D of the vectors.
    """

    def __init__(self, encoder: nn.Module, size: int | None = None) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()
        self.dim = int(cast(Any, encoder).dim)
        self.size = size

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: a teacher's output must not depend on the student's dropout."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] to [B, D] float32, without gradient."""
        return self.pooled(self.resized(images)).float()

    def resized(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] to the teacher's own size, in [0, 1]."""
        if self.size is not None and images.shape[-2:] != (self.size, self.size):
            images = F.interpolate(
                images, size=(self.size, self.size), mode="bicubic", align_corners=False, antialias=True
            )
        return images.clamp(0, 1)

    def pooled(self, images: Tensor) -> Tensor:
        """One vector [B, D] an image, of images in the teacher's own size."""
        tokens: Tokens = self.encoder(images)
        return tokens.prefix[:, 0] if tokens.prefix.shape[1] else tokens.patches.mean(1)


class TransformersTeacher(Teacher):
    """DINOv2 or CLIP's vision tower: `pooler_output`, the class token after the last norm.

    Args:
        model: transformers' `Dinov2Model`, `Dinov2WithRegistersModel` or `CLIPVisionModel`.
        mean: of the channels, subtracted first.
        std: of the channels, divided by.
        size: side in pixels that images are resized to, a multiple of the patch.

    Raises:
        UserError: a size that is no multiple of the patch.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, mean: tuple[float, ...], std: tuple[float, ...], size: int) -> None:
        patch = int(model.config.patch_size)
        if size % patch:
            raise UserError(f"teacher images of {size} pixels do not divide into patches of {patch}: change size")
        model.dim = int(model.config.hidden_size)
        super().__init__(model, size)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def pooled(self, images: Tensor) -> Tensor:
        """[B, 3, size, size] in [0, 1] to [B, D]."""
        return self.outputs(images).pooler_output

    @property
    def is_clip(self) -> bool:
        """Whether the model is CLIP's vision tower."""
        return str(cast(Any, self.encoder).config.model_type).startswith("clip")

    def outputs(self, images: Tensor) -> Any:
        """What the model returns for [B, 3, size, size] in [0, 1]."""
        model = cast(Any, self.encoder)
        pixels = ((images - self.mean) / self.std).to(model.dtype)
        # DINOv2 fits its position table by itself; CLIP only when asked
        return model(pixels, **({"interpolate_pos_encoding": True} if self.is_clip else {}))


def open_teacher(folder: str | Path, size: int | None = None) -> Teacher:
    """Load a teacher from a folder on disk.

    Args:
        folder: a saved DINOv2 or CLIP of transformers (`config.json` and `model.safetensors`), or a saved
            encoder of ours.
        size: side in pixels that images are resized to; None for 224, or less where the model was made for
            less, and for the size of the images with an encoder of ours.

    Raises:
        UserError: no such folder, another kind of model, or files that do not load.
    """
    config = read_config(Path(folder))
    if "model_type" not in config:
        return Teacher(load_pretrained(folder, Encoder, role="teacher"), size)
    kind = str(config["model_type"])
    if not kind.startswith(("dinov2", "clip")):
        raise UserError(f"{folder} holds a {kind} model: a teacher is a dinov2, a clip or an encoder of ours")
    model = _load(Path(folder), kind)
    mean, std = _channels(Path(folder), kind)
    if size is None:
        patch = int(model.config.patch_size)
        size = min(USUAL_SIDE, int(model.config.image_size)) // patch * patch
    return TransformersTeacher(model, mean, std, size)


def _load(folder: Path, kind: str) -> Any:
    from transformers import AutoModel, CLIPVisionModel

    loader: Any = CLIPVisionModel if kind.startswith("clip") else AutoModel
    try:
        return loader.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder} does not load as a {kind} model: {error}") from error


def _channels(folder: Path, kind: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the folder's preprocessor, or those that the kind was trained with."""
    path = folder / "preprocessor_config.json"
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
        if "image_mean" in content and "image_std" in content:
            return tuple(content["image_mean"]), tuple(content["image_std"])
    return (CLIP_MEAN, CLIP_STD) if kind.startswith("clip") else (IMAGENET_MEAN, IMAGENET_STD)
