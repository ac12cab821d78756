"""The block of a vision transformer (ViT), with token merging between attention and MLP where asked for.

Parameter names are those of timm.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.attention import attend, check_heads
from mimgen.layers.merging import Merged, match


def init_linears(module: nn.Module) -> None:
    """Initial weights of ViT and Swin for every linear layer inside: truncated normal 0.02, zero biases."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


class LayerScale(nn.Module):
    """x * gamma over the last dimension (CaiT, arXiv 2103.17239, equation 4)."""

    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), initial))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return x * self.gamma


class DropPath(nn.Module):
    """Drop the residual branch of a row with probability `rate` while training (arXiv 1603.09382)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise UserError(f"drop_path is a probability in [0, 1), got {rate}")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] -> [B, ...], rows that stay are scaled to keep the mean."""
        if not (self.training and self.rate):
            return x
        kept = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.rate  # [B, 1, ...]
        return x * kept / (1 - self.rate)


class SelfAttention(nn.Module):
    """Multi-head self-attention with joint projection of queries, keys and values.

    Args:
        width: D, a multiple of `heads`.
        heads: attention heads H.
        qkv_bias: whether the joint projection has a bias.
    """

    def __init__(self, width: int, heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, T, D] to queries, keys and values, each [B, T, H, D / H]."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)  # [B, T, H, d]
        return q, k, v

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        return self.proj(attend(*self.project(x)).flatten(2))

    def maps(self, x: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Attention weights [B, H, T, T] of x [B, T, D]; rows sum to 1."""
        q, k, _ = self.project(x)
        scores = torch.einsum("bthd,bshd->bhts", q, k) / q.shape[-1] ** 0.5  # [B, H, T, T]
        if sizes is not None:
            scores = scores + size_bias(sizes)
        return scores.softmax(-1)


def size_bias(sizes: Tensor) -> Tensor:
    """log(size) of keys [B, T, 1] as a bias [B, 1, 1, T]: a merged token counts as often as it has patches."""
    return sizes.log()[:, None, :, 0].unsqueeze(1)


def attend_sized(q: Tensor, k: Tensor, v: Tensor, sizes: Tensor) -> Tensor:
    """Proportional attention softmax(q k / sqrt(d) + log size) v (ToMe, equation 1).

    Args:
        q: [B, T, H, d] queries.
        k: [B, T, H, d] keys.
        v: [B, T, H, d] values.
        sizes: [B, T, 1] number of patches behind each key.

    Returns:
        [B, T, H, d].
    """
    return attend(q, k, v, bias=size_bias(sizes))


class Mlp(nn.Module):
    """Linear, GELU, linear. [..., D] -> [..., D]."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return self.fc2(F.gelu(self.fc1(x)))


class VitBlock(nn.Module):
    """Pre-norm attention and MLP, each with residual.

    Args:
        width: D.
        heads: attention heads H.
        mlp_ratio: hidden width of the MLP over D.
        layer_scale: start of a learned scale on both branches; None for none.
        drop_path: probability of skipping a branch while training.
        eps: of the layer norms (timm 1e-6, torch 1e-5).
        qkv_bias: whether the projection of queries, keys and values has a bias.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        eps: float = 1e-6,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps)
        self.attn = SelfAttention(width, heads, qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps)
        self.mlp: nn.Module = Mlp(width, int(mlp_ratio * width))
        scaled = layer_scale is not None
        self.ls1 = LayerScale(width, layer_scale) if scaled else nn.Identity()  # type: ignore[arg-type]
        self.ls2 = LayerScale(width, layer_scale) if scaled else nn.Identity()  # type: ignore[arg-type]
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x))))
        return self._fed(x)

    def merge_forward(
        self, x: Tensor, merged: Merged, remove: int, *, proportional: bool = True, protected: int = 1
    ) -> tuple[Tensor, Merged]:
        """The same with `remove` tokens merged away between attention and MLP (ToMe, section 3).

        Similarity is the cosine of the keys' mean over heads.

        Args:
            x: [B, T, D].
            merged: what became of the tokens before this block; `Merged.start(x)` before the first.
            remove: number of tokens to remove, at most half.
            proportional: whether a key weighs by its size in the attention.
            protected: leading tokens that never merge.

        Returns:
            [B, T - remove, D], and the record after this block.

        Raises:
            UserError: more than half of the tokens are to go.
        """
        q, k, v = self.attn.project(self.norm1(x))
        # before anything has merged all sizes are 1, and the quicker kernel without bias gives the same
        weigh = proportional and merged.any
        mixed = attend_sized(q, k, v, merged.sizes) if weigh else attend(q, k, v)
        x = x + self.drop_path(self.ls1(self.attn.proj(mixed.flatten(2))))
        if remove:
            # keys are what attention compares tokens by, and they are there already (ToMe, table 1)
            x, merged = merged.through(x, match(k.detach().mean(2), remove, protected=protected))
        return self._fed(x), merged

    def _fed(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))
