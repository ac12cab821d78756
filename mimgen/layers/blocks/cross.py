"""Attention from one sequence to another, and the block that is made of it."""

from __future__ import annotations

from torch import Tensor, nn

from mimgen.layers.attention import attend, check_heads
from mimgen.layers.blocks.vit import Mlp, SelfAttention
from mimgen.layers.rotary_grid import Rotation, turn


class CrossAttention(nn.Module):
    """Multi-head attention of queries to a memory, with a projection each for queries, keys, values and output.

    Args:
        width: D of the queries and of the output, a multiple of `heads`.
        heads: H.
        memory_width: of the tokens that are attended to; D by default.
        qkv_bias: whether the first three projections have biases.
        joint: one projection `kv` makes keys and values together, as some releases name it.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        memory_width: int | None = None,
        *,
        qkv_bias: bool = True,
        joint: bool = False,
    ) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads, self.joint = heads, joint
        self.q = nn.Linear(width, width, bias=qkv_bias)
        if joint:
            self.kv = nn.Linear(memory_width or width, 2 * width, bias=qkv_bias)
        else:
            self.k, self.v = (nn.Linear(memory_width or width, width, bias=qkv_bias) for _ in range(2))
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor | None = None,
        rotations: tuple[Rotation, Rotation] | None = None,
    ) -> Tensor:
        """Queries [B, T, D] and memory [B, S, memory_width] to [B, T, D].

        Args:
            queries: what asks.
            keys: what is compared with.
            values: what is read, where it differs from the keys; not with a joint projection.
            rotations: positions of the queries and of the keys, as rotations of their channels.
        """
        q = self.q(queries).unflatten(-1, (self.heads, -1))  # [B, T, H, d]
        k, v = self._memory(keys, values)
        if rotations is not None:
            q, k = turn(q, rotations[0]), turn(k, rotations[1])
        return self.proj(attend(q, k, v).flatten(2))

    def _memory(self, keys: Tensor, values: Tensor | None) -> tuple[Tensor, Tensor]:
        if not self.joint:
            k = self.k(keys).unflatten(-1, (self.heads, -1))
            return k, self.v(keys if values is None else values).unflatten(-1, (self.heads, -1))
        assert values is None, "a joint projection reads keys and values from the same tokens"
        k, v = self.kv(keys).unflatten(-1, (2, self.heads, -1)).unbind(2)  # [B, S, H, d] each
        return k, v


class CrossBlock(nn.Module):
    """Self-attention of the queries, cross-attention to a memory, MLP; each pre-norm and with residual.

    The memory itself is not changed (CroCo, section 3.2).

    Args:
        width: D of the queries.
        heads: H.
        memory_width: width of the memory; D by default.
        mlp_ratio: hidden width of the MLP over D.
        eps: of the layer norms.
        self_attention: whether the queries see each other.
        norm_memory: whether the block normalises the memory before reading it.
        joint: keys and values of the memory come from one projection.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        memory_width: int | None = None,
        *,
        mlp_ratio: float = 4.0,
        eps: float = 1e-6,
        self_attention: bool = True,
        norm_memory: bool = True,
        joint: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps) if self_attention else None
        self.attn = SelfAttention(width, heads) if self_attention else None
        self.norm2 = nn.LayerNorm(width, eps)
        self.norm_memory = nn.LayerNorm(memory_width or width, eps) if norm_memory else nn.Identity()
        self.cross_attn = CrossAttention(width, heads, memory_width, joint=joint)
        self.norm3 = nn.LayerNorm(width, eps)
        self.mlp = Mlp(width, int(mlp_ratio * width))

    def forward(self, x: Tensor, memory: Tensor, rotations: tuple[Rotation, Rotation] | None = None) -> Tensor:
        """Queries [B, T, D] and memory [B, S, memory_width] to [B, T, D].

        Args:
            x: the queries.
            memory: what they read.
            rotations: positions of queries and memory, see `CrossAttention`.
        """
        if self.attn is not None and self.norm1 is not None:
            q, k, v = self.attn.project(self.norm1(x))
            if rotations is not None:
                q, k = turn(q, rotations[0]), turn(k, rotations[0])
            x = x + self.attn.proj(attend(q, k, v).flatten(2))
        x = x + self.cross_attn(self.norm2(x), self.norm_memory(memory), rotations=rotations)
        return x + self.mlp(self.norm3(x))
