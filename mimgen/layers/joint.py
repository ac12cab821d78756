"""The two block kinds of Meissonic: joint text-image blocks (MM-DiT) and single-stream blocks.

Parameter names are those of the official release, so that its checkpoints load as they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.layers.attention import attend
from mimgen.layers.norm import RMSNorm
from mimgen.layers.rope import rotate

Table = tuple[Tensor, Tensor]


def plain_norm(x: Tensor) -> Tensor:
    """Layer norm without weights over the last dimension, eps 1e-6."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


class Modulation(nn.Module):
    """SiLU and a linear layer that give `parts` modulation vectors [B, 1, D] each."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.linear = nn.Linear(width, parts * width)

    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        """[B, D] -> `parts` vectors [B, 1, D]."""
        return self.linear(F.silu(condition))[:, None].chunk(self.parts, dim=-1)


class FeedForward(nn.Module):
    """Linear to 4 D, tanh-GELU, linear back. [B, T, D] -> [B, T, D]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widen = nn.ModuleDict({"proj": nn.Linear(width, 4 * width)})
        # index 1 is the dropout of the official layout, which has no parameters
        self.net = nn.ModuleList([widen, nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        widen = self.net[0]
        assert isinstance(widen, nn.ModuleDict)
        return self.net[2](F.gelu(widen["proj"](x), approximate="tanh"))


class Projections(nn.Module):
    """q, k, v of one or two streams with RMS norm on q and k of every head."""

    def __init__(self, width: int, heads: int, joint: bool) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.norm_q, self.norm_k = RMSNorm(width // heads), RMSNorm(width // heads)
        if joint:
            self.add_q_proj, self.add_k_proj, self.add_v_proj = (nn.Linear(width, width) for _ in range(3))
            self.norm_added_q, self.norm_added_k = RMSNorm(width // heads), RMSNorm(width // heads)
            self.to_out = nn.ModuleList([nn.Linear(width, width)])
            self.to_add_out = nn.Linear(width, width)

    def image(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, T, D] -> q, k, v of [B, T, H, D / H]."""
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)) for layer in (self.to_q, self.to_k, self.to_v))
        return self.norm_q(q), self.norm_k(k), v

    def text(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same for the text stream of a joint block."""
        layers = (self.add_q_proj, self.add_k_proj, self.add_v_proj)
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)) for layer in layers)
        return self.norm_added_q(q), self.norm_added_k(k), v


class JointBlock(nn.Module):
    """Two streams with their own weights, one attention over both (text first)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm1_context = Modulation(width, 6), Modulation(width, 6)
        self.attn = Projections(width, heads, joint=True)
        self.ff, self.ff_context = FeedForward(width), FeedForward(width)

    def forward(self, image: Tensor, text: Tensor, condition: Tensor, table: Table) -> tuple[Tensor, Tensor]:
        """image [B, N, D], text [B, T, D], condition [B, D] -> the same two streams."""
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.norm1(condition)
        t_shift, t_scale, t_gate, t_shift_mlp, t_scale_mlp, t_gate_mlp = self.norm1_context(condition)
        of_image = self.attn.image(plain_norm(image) * (1 + scale) + shift)
        of_text = self.attn.text(plain_norm(text) * (1 + t_scale) + t_shift)
        q, k, v = (torch.cat([t, i], dim=1) for t, i in zip(of_text, of_image, strict=True))
        mixed = attend(rotate(q, table), rotate(k, table), v).flatten(2)
        from_text, from_image = mixed.split([text.shape[1], image.shape[1]], dim=1)
        image = image + gate * self.attn.to_out[0](from_image)
        text = text + t_gate * self.attn.to_add_out(from_text)
        image = image + gate_mlp * self.ff(plain_norm(image) * (1 + scale_mlp) + shift_mlp)
        text = text + t_gate_mlp * self.ff_context(plain_norm(text) * (1 + t_scale_mlp) + t_shift_mlp)
        return image, text


class SingleBlock(nn.Module):
    """Attention and MLP in parallel on the concatenated sequence, one output projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = Modulation(width, 3)
        self.attn = Projections(width, heads, joint=False)
        self.proj_mlp = nn.Linear(width, 4 * width)
        self.proj_out = nn.Linear(5 * width, width)

    def forward(self, x: Tensor, condition: Tensor, table: Table) -> Tensor:
        """x [B, T + N, D], condition [B, D] -> [B, T + N, D]."""
        shift, scale, gate = self.norm(condition)
        h = plain_norm(x) * (1 + scale) + shift
        q, k, v = self.attn.image(h)
        mixed = attend(rotate(q, table), rotate(k, table), v).flatten(2)
        mlp = F.gelu(self.proj_mlp(h), approximate="tanh")
        return x + gate * self.proj_out(torch.cat([mixed, mlp], dim=-1))
