"""What a pooling of tokens is, and the attention arithmetic that all of them share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mimgen.errors import UserError


@dataclass(frozen=True)
class Pooled:
    """Tokens that became one vector per image.

    Attributes:
        vector: [B, F].
        maps: [B, K, N], how much each token counts; K maps per image, none negative, each sums to 1.
        attention: the weights in the shape in which the method's own code returns them; it may hold queries
            and keys that are not tokens of the image.
    """

    vector: Tensor
    maps: Tensor
    attention: Tensor


class Pooling(nn.Module):
    """The base of the poolings: tokens [B, N, D] to a vector [B, F] with maps of how much each token counts.

    Attributes:
        width: D of the tokens.
        features: length F of the vector.
    """

    def __init__(self, width: int, features: int | None = None) -> None:
        super().__init__()
        self.width, self.features = width, features or width

    def pool_with_maps(self, tokens: Tensor) -> Pooled:
        """Tokens [B, N, D] to the vector and its maps."""
        raise NotImplementedError

    def pool(self, tokens: Tensor) -> Tensor:
        """The vector [B, F] alone; overridden where the maps cost something."""
        return self.pool_with_maps(tokens).vector

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N, D] to vectors [B, F].

        Raises:
            UserError: tokens of another width or shape.
        """
        if tokens.ndim != 3 or tokens.shape[-1] != self.width:
            raise UserError(
                f"{type(self).__name__} was made for tokens [B, N, {self.width}], got {list(tokens.shape)}: "
                "give all tokens of the encoder and layer that it was made for"
            )
        return self.pool(tokens)

    def maps(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N, D] to maps [B, K, N] that sum to 1."""
        return self.pool_with_maps(tokens).maps


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, T, D] -> [B, H, T, D / H]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """[B, H, T, d] -> [B, T, H * d]."""
    return x.transpose(1, 2).flatten(2)


def weigh(q: Tensor, k: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) over keys: [B, H, T, d] and [B, H, S, d] -> [B, H, T, S]."""
    return (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1)


def init_token(*shape: int) -> nn.Parameter:
    """A learnt token or table, normal with deviation 0.02."""
    return nn.Parameter(0.02 * torch.randn(*shape))


def square_side(count: int) -> int:
    """Side of the square grid of `count` tokens; a `UserError` where there is none."""
    side = round(count**0.5)
    if side * side != count:
        raise UserError(
            f"{count} tokens are no square grid: pass patch tokens without a class token, or grid=(rows, columns)"
        )
    return side
