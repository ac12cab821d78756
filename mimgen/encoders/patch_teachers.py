"""Frozen teachers of patch features: encoders of ours, or CLIP and DINOv2 from a folder on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.encoders.contract import Encoder
from mimgen.encoders.teachers import TransformersTeacher, open_teacher
from mimgen.types import Tokens


class PatchTeacher(nn.Module):
    """CLIP's vision tower or DINOv2 as an encoder: patch tokens after the last norm, without gradient.

    CLIP's patches go through its projection into the space it shares with text (BEiT v2, section 3.1).

    Args:
        teacher: the model with its normalisation and the side of its images.
        projection: CLIP's projection [E, D], or None.

    Attributes:
        dim: width of a patch token, E where there is a projection, else D.
        patch: pixels per side of a patch, of images of the teacher's own side.
    """

    projection: Tensor | None

    def __init__(self, teacher: TransformersTeacher, projection: Tensor | None = None) -> None:
        super().__init__()
        self.teacher = teacher
        self.register_buffer("projection", projection, persistent=False)
        config: Any = cast(Any, teacher.encoder).config
        self.patch = int(config.patch_size)
        self.dim = teacher.dim if projection is None else len(projection)
        self.prefix = 1 + int(getattr(config, "num_register_tokens", 0))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tokens:
        """[B, 3, H, W] in [0, 1], resized to the teacher's side, to tokens [B, N, dim] float32."""
        teacher, model = self.teacher, cast(Any, self.teacher.encoder)
        assert teacher.size is not None, "a model of transformers has a side"
        states = teacher.outputs(teacher.resized(images)).last_hidden_state  # [B, P + N, D]
        if teacher.is_clip:  # DINOv2 closes all tokens with its norm, CLIP the pooled one only
            states = getattr(model, "vision_model", model).post_layernorm(states)
        if self.projection is not None:
            states = F.linear(states, self.projection.to(states.dtype))  # [B, P + N, E]
        states, rows = states.float(), teacher.size // self.patch
        return Tokens(states[:, self.prefix :], (rows, rows), states[:, : self.prefix])


def open_patch_teacher(folder: str | Path, size: int | None = None) -> PatchTeacher | Encoder:
    """Load a teacher of patch features from a folder on disk; nothing is downloaded.

    Args:
        folder: a saved encoder of ours, or a saved CLIP or DINOv2 of transformers.
        size: side in pixels that images are resized to for a model of transformers; its usual one when None.

    Returns:
        An encoder: images [B, 3, H, W] in [0, 1] to `Tokens`, with `dim` and `patch`.

    Raises:
        UserError: no such folder, another kind of model, or files that do not load.
    """
    teacher = open_teacher(folder, size)
    if not isinstance(teacher, TransformersTeacher):
        return cast(Encoder, teacher.encoder)
    return PatchTeacher(teacher, _projection(Path(folder)))


def _projection(folder: Path) -> Tensor | None:
    """CLIP's `visual_projection` [E, D] from the file of its vision tower; None where there is none."""
    from safetensors import safe_open

    file = folder / "model.safetensors"
    if not file.is_file():
        return None
    with safe_open(str(file), framework="pt") as tensors:
        name = "visual_projection.weight"
        return tensors.get_tensor(name).float() if name in tensors.keys() else None  # noqa: SIM118
