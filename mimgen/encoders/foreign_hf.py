"""Vision transformers of transformers as encoders, from a folder on disk; nothing is downloaded."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mimgen.encoders.contract import block_numbers, register_channel_stats
from mimgen.encoders.teachers import CLIP_MEAN, CLIP_STD, USUAL_SIDE
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.errors import UserError
from mimgen.layers.patch_embed import image_grid
from mimgen.types import Tokens

# model_type of config.json
TRANSFORMERS_KINDS = (
    "vit", "deit", "vit_mae", "beit", "dinov2", "dinov2_with_registers", "ijepa", "clip", "clip_vision_model",
)  # fmt: skip
_HALF = (0.5, 0.5, 0.5)  # mean and deviation that ViT, BEiT and I-JEPA of transformers take off by default
_USUAL = {
    "vit": (_HALF, _HALF), "beit": (_HALF, _HALF),
    "clip": (CLIP_MEAN, CLIP_STD), "clip_vision_model": (CLIP_MEAN, CLIP_STD),
}  # fmt: skip


class ForeignEncoder(nn.Module):
    """What the adapters have in common: normalised images, checked sizes and layers.

    Args:
        mean: of the channels, subtracted first.
        std: of the channels, divided by.
        dim: width D of a token of the output.
        depth: layers that can be asked for.
        patch: pixels per side of a patch of the output.
        pixels: side of the images that the model was made for.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], *, dim: int, depth: int, patch: int, pixels: int
    ) -> None:
        super().__init__()
        self.dim, self.depth, self.patch, self.pixels = dim, depth, patch, pixels
        register_channel_stats(self, mean, std, channels=len(mean))

    def normalised(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """[B, 3, H, W] in [0, 1] -> (images - mean) / std, and rows and columns of patches.

        Raises:
            UserError: images of another shape, or that do not divide into patches.
        """
        grid = image_grid(images, self.patch, len(self.mean))
        return (images - self.mean) / self.std, grid

    def resolved(self, layers: Sequence[int]) -> tuple[int, ...]:
        """Layers counted from 0; a `UserError` for one that does not exist."""
        return block_numbers(layers, self.depth)


class TransformersEncoder(ForeignEncoder):
    """A vision transformer of transformers; the tokens are those after its last norm.

    CLIP's last norm is made for the class token and is applied to all tokens here, as by `PatchTeacher`.
    BEiT with mean pooling has its norm in the pooler: its tokens have none.

    Args:
        model: a base model, without head.
        mean: of the channels, subtracted first.
        std: of the channels, divided by.
    """

    def __init__(self, model: Any, mean: Sequence[float], std: Sequence[float]) -> None:
        config = model.config
        super().__init__(
            mean, std, dim=int(config.hidden_size), depth=int(config.num_hidden_layers),
            patch=int(config.patch_size), pixels=int(config.image_size),
        )  # fmt: skip
        self.kind = str(config.model_type)
        if self.kind == "vit_mae":
            config.mask_ratio = 0.0  # by default three quarters of the patches would be left out
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # a random one where the checkpoint has none; not read here
        self.model: nn.Module = model

    @property
    def settings(self) -> str:
        """JSON of the configuration, for digests."""
        config = cast(Any, self.model).config.to_dict()
        return json.dumps(
            {name: value for name, value in config.items() if name not in ("_name_or_path", "transformers_version")},
            sort_keys=True, default=str,
        )  # fmt: skip

    def forward(
        self, images: Tensor, *, layers: Sequence[int] = (), attention: Sequence[int] = ()
    ) -> Tokens:
        """Images to tokens.

        Args:
            images: [B, 3, H, W] in [0, 1]; other sizes than the model's own get an interpolated table.
            layers: blocks whose patch tokens [B, N, D] are returned as `levels`, before the last norm.
            attention: blocks whose attention maps [B, H, T, T] are returned.

        Raises:
            UserError: images that do not divide into patches, or a layer that does not exist.
        """
        wanted, mapped = self.resolved(layers), self.resolved(attention)
        normalised, grid = self.normalised(images)
        model = cast(Any, self.model)
        with _eager(model) if mapped else _as_is():
            output = model(
                pixel_values=normalised.to(model.dtype), output_hidden_states=bool(wanted),
                output_attentions=bool(mapped), return_dict=True, **self._extras(normalised, grid),
            )  # fmt: skip
        states = output.last_hidden_state
        if self.kind.startswith("clip"):
            states = getattr(model, "vision_model", model).post_layernorm(states)
        first = states.shape[1] - grid[0] * grid[1]  # class and register tokens
        return Tokens(
            patches=states[:, first:].float(),
            grid=grid,
            prefix=states[:, :first].float(),
            levels=tuple(output.hidden_states[layer + 1][:, first:].float() for layer in wanted),
            attention=tuple(output.attentions[layer].float() for layer in mapped),
        )

    def _extras(self, images: Tensor, grid: tuple[int, int]) -> dict[str, Any]:
        extras: dict[str, Any] = {}
        known = inspect.signature(cast(Any, self.model).forward).parameters
        if images.shape[-2:] != (self.pixels, self.pixels) and "interpolate_pos_encoding" in known:
            extras["interpolate_pos_encoding"] = True
        if self.kind == "vit_mae":  # it sorts patches by noise: ascending noise keeps their order
            extras["noise"] = torch.arange(grid[0] * grid[1], device=images.device).expand(len(images), -1)
        return extras


def open_transformers(folder: str | Path) -> TransformersEncoder:
    """Load an encoder of transformers from a folder with config.json and model.safetensors.

    Raises:
        UserError: no such folder, a kind that is not known, or weights that are not all there.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no config.json: pass the folder of a saved model of transformers")
    kind = str(json.loads(path.read_text(encoding="utf-8")).get("model_type"))
    if kind not in TRANSFORMERS_KINDS:
        raise UserError(f"{path} describes a {kind} model: known are {', '.join(TRANSFORMERS_KINDS)}")

    from transformers import AutoModel, CLIPVisionModel

    loader: Any = CLIPVisionModel if kind.startswith("clip") else AutoModel
    try:
        model, found = loader.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder} does not load as a {kind} model: {error}") from error
    missing = sorted(name for name in found["missing_keys"] if "pooler" not in name)
    if missing:
        raise UserError(f"{folder} lacks {len(missing)} weights of a {kind} model: {', '.join(missing[:5])}")
    return TransformersEncoder(model.float().eval(), *_channels(Path(folder), kind))


def usual_side(encoder: ForeignEncoder) -> int:
    """Side in pixels that images are measured at: the model's own, but 224 where that is larger (DINOv2: 518)."""
    return min(USUAL_SIDE, encoder.pixels) // encoder.patch * encoder.patch


def _channels(folder: Path, kind: str) -> tuple[Sequence[float], Sequence[float]]:
    path = folder / "preprocessor_config.json"
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("do_normalize", True) and "image_mean" in content and "image_std" in content:
            return content["image_mean"], content["image_std"]
        if content.get("do_normalize") is False:
            return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return _USUAL.get(kind, (IMAGENET_MEAN, IMAGENET_STD))


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    """The attention that computes its maps, for the block; the fused one has none to give."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def _as_is() -> Iterator[None]:
    yield
