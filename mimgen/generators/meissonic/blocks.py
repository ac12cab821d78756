"""The two block kinds of Meissonic: joint text-image blocks (MM-DiT) and single-stream blocks.

Parameter names are those of the official release, so that its checkpoints load as they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.layers.attention import attend
from mimgen.layers.kv_cache import KeyValues, Slots
from mimgen.layers.norm import RMSNorm
from mimgen.layers.rope import rotate
from mimgen.ops.positions import gather_tokens

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
        return self.linear(F.silu(condition))[:, None].chunk(self.parts, dim=-1)  # [B, 1, D] each


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
        return self.queries(x), *self.keys_values(x)

    def queries(self, x: Tensor) -> Tensor:
        """[B, T, D] -> q [B, T, H, D / H] of the image stream."""
        return self.norm_q(self.to_q(x).unflatten(-1, (self.heads, -1)))

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, D] -> k, v of [B, T, H, D / H] of the image stream."""
        k, v = (layer(x).unflatten(-1, (self.heads, -1)) for layer in (self.to_k, self.to_v))
        return self.norm_k(k), v

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

    def forward(
        self, image: Tensor, text: Tensor, condition: Tensor, table: Table, store: KeyValues | None = None
    ) -> tuple[Tensor, Tensor]:
        """image [B, N, D], text [B, T, D], condition [B, D] -> the same two streams; `store` keeps keys and values."""
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.norm1(condition)
        t_shift, t_scale, t_gate, t_shift_mlp, t_scale_mlp, t_gate_mlp = self.norm1_context(condition)
        of_image = self.attn.image(plain_norm(image) * (1 + scale) + shift)
        of_text = self.attn.text(plain_norm(text) * (1 + t_scale) + t_shift)
        q, k, v = (torch.cat([t, i], dim=1) for t, i in zip(of_text, of_image, strict=True))
        k = rotate(k, table)
        if store is not None:
            store.fill(k, v)
        mixed = attend(rotate(q, table), k, v).flatten(2)  # [B, T + N, D]
        from_text, from_image = mixed.split([text.shape[1], image.shape[1]], dim=1)
        image = image + gate * self.attn.to_out[0](from_image)
        text = text + t_gate * self.attn.to_add_out(from_text)
        image = image + gate_mlp * self.ff(plain_norm(image) * (1 + scale_mlp) + shift_mlp)
        text = text + t_gate_mlp * self.ff_context(plain_norm(text) * (1 + t_scale_mlp) + t_shift_mlp)
        return image, text

    def partial(self, image: Tensor, condition: Tensor, table: Table, store: KeyValues, slots: Slots) -> Tensor:
        """Some cells alone, all others and the text as `store` keeps them.

        Args:
            image: [B, m, D] the cells.
            condition: [B, D].
            table: two [B, m, D / H], the angles of the cells.
            store: keys and values of this block; those of the cells are replaced.
            slots: where the cells' entries are.

        Returns:
            [B, m, D].
        """
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.norm1(condition)
        q, k, v = self.attn.image(plain_norm(image) * (1 + scale) + shift)
        mixed = store.attend(rotate(q, table), rotate(k, table), v, slots).flatten(2)
        image = image + gate * self.attn.to_out[0](mixed)
        return image + gate_mlp * self.ff(plain_norm(image) * (1 + scale_mlp) + shift_mlp)


class SingleBlock(nn.Module):
    """Attention and MLP in parallel on the concatenated sequence, one output projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = Modulation(width, 3)
        self.attn = Projections(width, heads, joint=False)
        self.proj_mlp = nn.Linear(width, 4 * width)
        self.proj_out = nn.Linear(5 * width, width)

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        table: Table,
        store: KeyValues | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """Every token, or what becomes of some.

        Args:
            x: [B, T + N, D].
            condition: [B, D].
            table: two [T + N, D / H].
            store: keeps keys and values.
            at: [B, M] int64 positions in the sequence whose output is wanted; all of them when None.

        Returns:
            [B, T + N, D], or [B, M, D].
        """
        shift, scale, gate = self.norm(condition)
        h = plain_norm(x) * (1 + scale) + shift
        k, v = self.attn.keys_values(h)
        k = rotate(k, table)
        if store is not None:
            store.fill(k, v)
        if at is not None:
            x, h = gather_tokens(x, at), gather_tokens(h, at)  # [B, M, D]
            table = (table[0][at], table[1][at])
        mixed = attend(rotate(self.attn.queries(h), table), k, v)
        return x + gate * self._out(mixed, h)

    def partial(self, x: Tensor, condition: Tensor, table: Table, store: KeyValues, slots: Slots) -> Tensor:
        """Some cells alone; arguments as for `JointBlock.partial`."""
        shift, scale, gate = self.norm(condition)
        h = plain_norm(x) * (1 + scale) + shift
        q, k, v = self.attn.image(h)
        mixed = store.attend(rotate(q, table), rotate(k, table), v, slots)
        return x + gate * self._out(mixed, h)

    def _out(self, mixed: Tensor, h: Tensor) -> Tensor:
        mlp = F.gelu(self.proj_mlp(h), approximate="tanh")
        return self.proj_out(torch.cat([mixed.flatten(2), mlp], dim=-1))  # 5 D in, D out
