"""The head of self-distillation: tokens to scores of prototypes, which play the part of classes (DINO, iBOT)."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.blocks.vit import init_linears
from mimgen.pretrained import PretrainedModule


class Prototypes(nn.Module):
    """Scores gain * cos: products with K directions of length 1, each times its gain (weight normalisation).

    Parameter names are those of torch's first weight normalisation, which the official releases use.

    Args:
        width: F of the vectors.
        count: K.
        fixed_gain: all gains stay 1; else they are learned.
    """

    def __init__(self, width: int, count: int, fixed_gain: bool = True) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(count, 1), requires_grad=not fixed_gain)
        self.weight_v = nn.Parameter(torch.empty(count, width))
        nn.init.kaiming_uniform_(self.weight_v, a=5**0.5)

    @property
    def directions(self) -> Tensor:
        """[K, F], rows of length 1."""
        return F.normalize(self.weight_v, dim=1, eps=0)

    def forward(self, features: Tensor, *, frozen: bool = False) -> Tensor:
        """[..., F] -> [..., K]; `frozen` gives the prototypes no gradient."""
        weight = self.weight_g * self.directions
        return F.linear(features, weight.detach() if frozen else weight)


class PrototypeHead(PretrainedModule):
    """Tokens to a bottleneck of length 1, and from there to prototypes (iBOT, section 3.2).

    One MLP serves class and patch tokens; their prototypes are the same, too, unless `patch_prototypes` is given.

    Args:
        width: D of the tokens.
        prototypes: K.
        patch_prototypes: number of the patch tokens' own prototypes; None to share those of the class token.
        masked: width of the MLP.
        bottleneck: F.
        layers: linear layers of the MLP.
        fixed_gain: lengths of the prototypes stay 1; learned ones are less stable with large encoders.

    Raises:
        UserError: no layer.
    """

    def __init__(
        self,
        width: int = 384,
        prototypes: int = 8192,
        patch_prototypes: int | None = None,
        hidden: int = 2048,
        bottleneck: int = 256,
        layers: int = 3,
        fixed_gain: bool = True,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise UserError(f"layers={layers}: the head needs at least 1 linear layer")
        sides = [width, *[hidden] * (layers - 1), bottleneck]
        parts: list[nn.Module] = []
        for before, after in itertools.pairwise(sides):
            parts += [nn.Linear(before, after), nn.GELU()]
        self.mlp = nn.Sequential(*parts[:-1])
        self.last_layer = Prototypes(bottleneck, prototypes, fixed_gain)
        own = patch_prototypes is not None
        self.last_layer2 = Prototypes(bottleneck, patch_prototypes, fixed_gain) if own else None  # type: ignore[arg-type]
        init_linears(self.mlp)

    def features(self, tokens: Tensor) -> Tensor:
        """[..., D] to [..., F] float32 of length 1."""
        return F.normalize(self.mlp(tokens).float(), dim=-1)

    def classes(self, features: Tensor, *, frozen: bool = False) -> Tensor:
        """Scores [..., K] of class tokens from their features [..., F]; `frozen`: no gradient for prototypes."""
        return self.last_layer(features, frozen=frozen)

    def patches(self, features: Tensor, *, frozen: bool = False) -> Tensor:
        """Scores [..., K] of patch tokens from their features [..., F]."""
        return (self.last_layer2 or self.last_layer)(features, frozen=frozen)
