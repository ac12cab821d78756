"""timm's models as encoders: vision transformers with tokens, others with the maps of their stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mimgen.encoders.foreign_hf import ForeignEncoder
from mimgen.errors import UserError
from mimgen.pretrained import load_strictly
from mimgen.types import Tokens

RANDOM = "random"


class TimmEncoder(ForeignEncoder):
    """A model of timm, read through its `forward_intermediates`.

    Of a transformer with blocks, levels and output are patch tokens, and the layers are its blocks. Of other
    models (convolutional or with stages) the layers are the stages, each with a width and a grid of its own.

    Args:
        model: created with `num_classes=0`.
        mean: of the channels, subtracted first.
        std: of the channels, divided by.
        pixels: side of the images that it was made for.

    Raises:
        UserError: a model that gives no intermediate features.
    """

    def __init__(self, model: Any, mean: Sequence[float], std: Sequence[float], pixels: int) -> None:
        if not hasattr(model, "forward_intermediates"):
            raise UserError(f"timm's {type(model).__name__} gives no intermediate features: choose another model")
        with_blocks = hasattr(model, "blocks") and hasattr(model, "num_prefix_tokens")
        reductions = [int(stage["reduction"]) for stage in model.feature_info]
        super().__init__(
            mean, std, dim=int(model.num_features), pixels=pixels,
            depth=len(model.blocks) if with_blocks else len(reductions),
            patch=int(model.patch_embed.patch_size[0]) if with_blocks else reductions[-1],
        )  # fmt: skip
        self.model: nn.Module = model
        self.with_blocks = with_blocks

    def forward(
        self, images: Tensor, *, layers: Sequence[int] = (), attention: Sequence[int] = ()
    ) -> Tokens:
        """Images to tokens.

        Args:
            images: [B, 3, H, W] in [0, 1].
            layers: blocks (or stages) whose patch tokens are returned as `levels`, before the last norm.
            attention: blocks whose attention maps [B, H, T, T] are returned.

        Raises:
            UserError: a size that the model does not take, a layer that does not exist, or attention maps of a
                model that has none.
        """
        wanted, mapped = self.resolved(layers), self.resolved(attention)
        normalised, grid = self.normalised(images)
        with self._recorded(mapped) as maps:
            try:
                return self._tokens(normalised, grid, wanted, mapped, maps)
            except AssertionError as error:  # timm checks the size of the images with assert
                raise UserError(f"timm's {type(self.model).__name__}: {error}; pass --pixels {self.pixels}") from error

    def _tokens(
        self,
        images: Tensor,
        grid: tuple[int, int],
        wanted: Sequence[int],
        mapped: Sequence[int],
        maps: dict[int, Tensor],
    ) -> Tokens:
        model, indices = cast(Any, self.model), sorted(set(wanted)) or [self.depth - 1]
        if not self.with_blocks:
            last, found = model.forward_intermediates(images, indices=indices, norm=False, output_fmt="NCHW")
            if getattr(model, "output_fmt", "NCHW") == "NHWC":
                last = last.permute(0, 3, 1, 2)
            levels = {layer: level.flatten(2).transpose(1, 2) for layer, level in zip(indices, found, strict=True)}
            patches = last.flatten(2).transpose(1, 2)
            return Tokens(patches, (last.shape[2], last.shape[3]), patches[:, :0], tuple(levels[i] for i in wanted))
        last, found = model.forward_intermediates(
            images, indices=indices, return_prefix_tokens=bool(model.num_prefix_tokens), norm=False, output_fmt="NLC"
        )
        plain = [level[0] if isinstance(level, tuple) else level for level in found]
        levels = dict(zip(indices, plain, strict=True))
        first = int(model.num_prefix_tokens)
        return Tokens(
            last[:, first:], grid, last[:, :first], tuple(levels[i] for i in wanted), tuple(maps[i] for i in mapped)
        )

    @contextmanager
    def _recorded(self, blocks: Sequence[int]) -> Iterator[dict[int, Tensor]]:
        """Attention maps of `blocks`, once the model has run in the block: what goes into their dropout."""
        maps: dict[int, Tensor] = {}
        undo: list[tuple[Any, bool, Any]] = []
        try:
            for number in blocks:
                attn = getattr(cast(Any, self.model).blocks[number], "attn", None) if self.with_blocks else None
                if not hasattr(attn, "fused_attn") or not hasattr(attn, "attn_drop"):
                    raise UserError(f"timm's {type(self.model).__name__} has no attention maps over all its patches")
                module: Any = attn
                hook = module.attn_drop.register_forward_pre_hook(_keeper(maps, number))
                undo.append((module, module.fused_attn, hook))
                module.fused_attn = False  # the fused kernel has no maps to give
            yield maps
        finally:
            for module, fused, hook in undo:
                module.fused_attn = fused
                hook.remove()


def open_timm(name: str, weights: str | None = None) -> TimmEncoder:
    """A model of timm by name.

    Args:
        name: such as "vit_small_patch16_224.dino".
        weights: a .safetensors file; "random" for an untrained model (the same one every time); None for the
            weights that the name stands for, which must be in Hugging Face's cache on this machine.

    Raises:
        UserError: timm is missing, has no such model, or the weights are not there or do not fit.
    """
    try:
        import timm
    except ImportError as error:
        raise UserError("timm is not installed: pip install timm") from error
    known = timm.is_model(name.partition(".")[0])
    if not known:
        near = timm.list_models(f"*{name.partition('.')[0]}*")[:5]
        raise UserError(f"timm has no model {name!r}" + (f"; it has {', '.join(near)}" if near else ""))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _created(timm, name)
    content = timm.data.resolve_model_data_config(model)
    if weights != RANDOM:
        _load(model, Path(weights) if weights else _cached(name, model.pretrained_cfg))
    return TimmEncoder(model.eval(), content["mean"], content["std"], int(content["input_size"][-1]))


def _created(timm: Any, name: str) -> Any:
    try:
        try:
            return timm.create_model(name, pretrained=False, num_classes=0, dynamic_img_size=True)
        except TypeError:  # a model whose images have one size, or that takes any
            return timm.create_model(name, pretrained=False, num_classes=0)
    except RuntimeError as error:
        raise UserError(f"timm cannot make {name!r}: {error}") from error


def _cached(name: str, source: dict[str, Any]) -> Path:
    """The file of a name's weights in Hugging Face's cache."""
    from huggingface_hub import try_to_load_from_cache

    repository = source.get("hf_hub_id")
    found = try_to_load_from_cache(repository, "model.safetensors") if repository else None
    if isinstance(found, str):
        return Path(found)
    fetch = f"`hf download {repository} model.safetensors` fetches them; or " if repository else ""
    raise UserError(
        f"the weights of {name} are not on this machine, and nothing is downloaded: {fetch}"
        f"pass timm:{name}@FILE.safetensors, or timm:{name}@{RANDOM} for an untrained model"
    )


def _load(model: Any, file: Path) -> None:
    """Load strictly; a head for classes is left out."""
    from safetensors.torch import load_file

    if not file.is_file() or file.suffix != ".safetensors":
        raise UserError(f"{file} is no .safetensors file: pass one, or the name of a model alone")
    heads = model.pretrained_cfg.get("classifier") or ()
    names = (heads,) if isinstance(heads, str) else tuple(heads)
    tensors = {
        name: value for name, value in load_file(file).items() if not name.startswith(tuple(f"{n}." for n in names))
    }
    load_strictly(model, tensors, str(file))


def _keeper(maps: dict[int, Tensor], number: int) -> Any:
    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        maps[number] = inputs[0].detach()

    return keep
