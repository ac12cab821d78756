"""What several replays share: gradients by official names, MAE's arguments and token order, official quirks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.checkpoints.sizes import heads_of
from mimgen.decoders.mae import MaeDecoder
from mimgen.masking.random import largest
from mimgen.methods.mae.adapter import HEADS
from mimgen.pretrained import load_strictly
from mimgen.types import Mask
from tests.parity.cases import Case

# Length of the sequence in the released Halton sampler, which misses cells of grids beyond 48 x 48.
RELEASED_POINTS = 10_000


class RecordedCodes(nn.Module):
    """A target whose ids [B, N] are given."""

    def __init__(self, ids: Tensor, codes: int, patch: int) -> None:
        super().__init__()
        self.ids, self.dim, self.patch = ids, codes, patch

    def forward(self, images: Tensor, mask: Mask | None = None) -> Tensor:
        return self.ids

    def loss(self, predicted: Tensor, goal: Tensor) -> Tensor:
        return F.cross_entropy(predicted, goal, reduction="none")


def plain(channels: int = 3) -> dict[str, tuple[float, ...]]:
    """Mean and deviation of an encoder whose recorded images are normalised already."""
    return {"mean": (0.0,) * channels, "std": (1.0,) * channels}


def side_of(config: Mapping[str, Any]) -> int | tuple[int, ...]:
    """`img_size` of an official constructor: one number, or rows and columns."""
    side = config.get("img_size", 224)
    return side if isinstance(side, int) else tuple(side)


def eps_of(text: str) -> float:
    """The number after "eps" in a description of the norm; 1e-6, as in all of MAE's models, where there is none."""
    found = re.search(r"eps\D*?(\d[\d.]*(?:e-?\d+)?)", text)
    return float(found[1]) if found else 1e-6


def vit_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of our encoder from the official constructor's, whose defaults are those of timm."""
    width = config.get("embed_dim", 1024)
    return {
        "image_size": side_of(config),
        "patch": config.get("patch_size", 16),
        "width": width,
        "depth": config.get("depth", 24),
        "heads": config.get("num_heads", heads_of(width, None, HEADS)),
        "mlp_ratio": config.get("mlp_ratio", 4.0),
        "qkv_bias": config.get("qkv_bias", True),
        "eps": eps_of(config.get("norm_layer", "")),
        **plain(),
    }


def mae_decoder(
    config: Mapping[str, Any],
    encoder: Mapping[str, Any],
    kind: type[MaeDecoder] = MaeDecoder,
    **more: Any,
) -> MaeDecoder:
    """The decoder of an official constructor that takes MAE's arguments.

    Args:
        config: the official arguments.
        encoder: our arguments of the encoder, see `vit_arguments`.
        kind: `MaeDecoder` or a class made from it.
        more: further arguments of `kind`.
    """
    return kind(
        encoder["image_size"],
        encoder["patch"],
        encoder["width"],
        config.get("decoder_embed_dim", 512),
        config.get("decoder_depth", 8),
        config.get("decoder_num_heads", 16),
        **{"mlp_ratio": encoder["mlp_ratio"], "eps": encoder["eps"], **more},
    )


def load_official(
    module: nn.Module, weights: Mapping[str, Tensor], rename: Callable[[str], str | None] = str
) -> None:
    """Load official tensors strictly under the names that `rename` gives; those without a name are left out."""
    named = {ours: value for key, value in weights.items() if (ours := rename(key)) is not None}
    load_strictly(module, named, "the case")


def mask_ratio(case: Case, usual: float = 0.75) -> float:
    """The share of masked patches, which some cases hold among their arguments and some among their strings."""
    return float(case.metadata.get("mask_ratio", case.config.get("mask_ratio", usual)))


def recorded_mask(noise: Tensor, ratio: float) -> tuple[Mask, Tensor]:
    """MAE's mask from noise [B, N], and its order of the patches [B, N]."""
    keep = int(noise.shape[1] * (1 - ratio))
    return Mask(largest(noise, noise.shape[1] - keep)), noise.argsort(dim=1, stable=True)


def released_mask(uniform: Tensor, rates: Tensor) -> Tensor:
    """[B, N] boolean, as the releases of TiTok and Meissonic sample it: round(N * rate) positions, at least 1.

    They compare the values of an argsort with the count where ranks are meant: as random, but another choice.

    Args:
        uniform: [B, N] numbers in [0, 1).
        rates: [B] masking rates.
    """
    counts = (uniform.shape[1] * rates).round().clamp(min=1)
    return uniform.argsort(dim=1) < counts[:, None]


def in_order(prefix: Tensor, patches: Tensor, mask: Mask, order: Tensor) -> Tensor:
    """Class token and visible tokens, these as the official code keeps them: in the order of their noise."""
    kept = order[:, : patches.shape[1]]
    position = torch.searchsorted(mask.keep.contiguous(), kept.contiguous())
    return torch.cat([prefix, patches.gather(1, position[..., None].expand_as(patches))], dim=1)


def feature_map(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens [B, N, D] as a map [B, D, h, w]."""
    return patches.transpose(1, 2).unflatten(2, grid)


def within(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `start`, without it."""
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def gradients(loss: Tensor, module: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Gradient of `loss` for each named parameter, 0 where it has no part, as recorded: `grad/<name>`."""
    names, parameters = list(names), dict(module.named_parameters())
    if not names:
        return {}
    found = torch.autograd.grad(
        loss, [parameters[name] for name in names], retain_graph=True, materialize_grads=True
    )
    return {f"grad/{name}": gradient for name, gradient in zip(names, found, strict=True)}


def official_gradients(
    loss: Tensor, module: nn.Module, case: Case, rename: Callable[[str], str | None] = str
) -> dict[str, Tensor]:
    """The recorded gradients, by the official names of their parameters, which `rename` turns into ours."""
    ours = {name: str(rename(name)) for name in within(case.outputs, "grad/")}
    found = gradients(loss, module, dict.fromkeys(ours.values()))
    return {f"grad/{name}": found[f"grad/{mine}"] for name, mine in ours.items()}
