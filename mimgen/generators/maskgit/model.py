"""The class-conditional masked token transformer of Halton-MaskGIT.

Paper: "Halton Scheduler for Masked Generative Image Transformer", ICLR 2025 (arXiv 2503.17076), after "MaskGIT:
Masked Generative Image Transformer", CVPR 2022 (arXiv 2202.04200). Parameter names are those of the official
release, but for the head: it is tied to the table of tokens, so it has a bias only.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.generators.base import Conditioning, Prediction
from mimgen.generators.class_sampling import ClassPredictor
from mimgen.layers.attention import attend
from mimgen.layers.norm import RMSNorm
from mimgen.ops.positions import gather_tokens
from mimgen.pretrained import PretrainedModule

EPS = 1e-5
_ROUND = 256  # the width of the gated layer is a multiple of it


def released_preset(steps: int = 32, *, guidance_scale: float = 3.0) -> dict[str, Any]:
    """How Halton-MaskGIT samples (section 4); names as of the pipeline's preset.

    Args:
        steps: number of steps.
        guidance_scale: w of u + w (c - u) in the last step, to which it rises.
    """
    return {"steps": steps, "guidance_scale": guidance_scale, "guidance_rule": "linear", "order": "halton",
            "schedule": "arccos"}  # fmt: skip


class Attention(nn.Module):
    """Self-attention without biases; q and k are RMS-normed over the full width before the split into heads."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"width {width} does not divide into {heads} heads: change one of them")
        self.heads = heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        q, k = (F.rms_norm(layer(x), x.shape[-1:], eps=EPS) for layer in (self.wq, self.wk))
        q, k, v = (t.unflatten(-1, (self.heads, -1)) for t in (q, k, self.wv(x)))  # [B, T, H, D / H] each
        return self.dropout(self.wo(attend(q, k, v).flatten(2)))


class GatedMlp(nn.Module):
    """SwiGLU: w2 (silu(w1 x) * w3 x), without biases (arXiv 2002.05202).

    Args:
        width: D.
        hidden: width of a plain MLP; here 2/3 of it, rounded up to a multiple of 256.
        dropout: probability of dropping an output.
    """

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        # 2 / 3, since three matrices of it have as many weights as two of `hidden`
        inner = -(-int(2 * hidden / 3) // _ROUND) * _ROUND
        self.w1, self.w3 = (nn.Linear(width, inner, bias=False) for _ in range(2))
        self.w2 = nn.Linear(inner, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        return self.dropout(self.w2(F.silu(self.w1(x)) * self.w3(x)))


def modulation(width: int, parts: int) -> nn.Sequential:
    """[B, D] -> [B, parts D], zero at the start: every block begins as the identity."""
    linear = nn.Linear(width, parts * width)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.SiLU(), linear)


class Block(nn.Module):
    """Modulated attention and gated MLP, each with residual."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.mlp = modulation(width, 6)
        self.ln1, self.ln2 = RMSNorm(width, EPS), RMSNorm(width, EPS)
        self.attn = Attention(width, heads, dropout)
        self.ff = GatedMlp(width, hidden, dropout)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x [B, T, D] with condition [B, D] -> [B, T, D]."""
        shift, scale, gate, shift_ff, scale_ff, gate_ff = self.mlp(condition)[:, None].chunk(6, dim=-1)
        x = x + gate * self.attn(self.ln1(x) * (1 + scale) + shift)
        return x + gate_ff * self.ff(self.ln2(x) * (1 + scale_ff) + shift_ff)


class BiasedRMSNorm(RMSNorm):
    """`RMSNorm` with a bias."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__(width, eps)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return super().forward(x) + self.bias


class ModulatedNorm(nn.Module):
    """RMS norm with bias whose result is shifted and scaled by the condition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_final = BiasedRMSNorm(width, EPS)
        self.mlp = modulation(width, 2)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x [B, T, D] with condition [B, D] -> [B, T, D]."""
        shift, scale = self.mlp(condition)[:, None].chunk(2, dim=-1)  # [B, 1, D] each
        return self.norm_final(x) * (1 + scale) + shift


class ClassTransformer(PretrainedModule):
    """Masked tokens and a class to logits of every token.

    Args:
        side: rows and columns of the token grid.
        codebook_size: number of codes K; id K is the mask.
        classes: labels 0 .. classes-1; id `classes` is the dropped label of the guidance.
        width: D.
        depth: blocks.
        heads: attention heads.
        hidden: width of a plain MLP, see `GatedMlp`.
        registers: learned tokens behind the image tokens, whose outputs are dropped.
        dropout: on the embedded tokens and on every branch, while training.
        mask_logit: score the mask id too, as the release does, whose samplers may generate it.

    Attributes:
        mask_id: id K.
        dropped: the id of the dropped label.

    Raises:
        UserError: a width that does not divide into heads.
    """

    def __init__(
        self,
        side: int = 16,
        codebook_size: int = 16384,
        classes: int = 1000,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        hidden: int = 3072,
        registers: int = 1,
        dropout: float = 0.1,
        mask_logit: bool = False,
    ) -> None:
        super().__init__()
        self.side, self.codebook_size, self.width = side, codebook_size, width
        self.mask_id, self.dropped, self.mask_logit = codebook_size, classes, mask_logit
        self.tok_emb = nn.Embedding(codebook_size + 1, width)  # the last row is the mask
        self.cls_emb = nn.Embedding(classes + 1, width)  # the last row is the dropped class
        self.pos_emb = nn.Embedding(side * side, width)
        self.reg_tokens = nn.Embedding(registers, width) if registers else None
        blocks = [Block(width, heads, hidden, dropout) for _ in range(depth)]
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList(blocks)})
        self.last_norm = ModulatedNorm(width)
        self.bias = nn.Parameter(torch.zeros(codebook_size + 1))
        self.dropout = nn.Dropout(dropout)
        for table in (self.tok_emb, self.cls_emb, self.pos_emb, self.reg_tokens):
            if table is not None:
                nn.init.normal_(table.weight, std=0.02)

    conditioning: Conditioning = "class"
    prediction: Prediction = "masked_tokens"

    def predictor(self, condition: Tensor, grid: tuple[int, int]) -> ClassPredictor:
        """The sampler's `predict` for labels [B]."""
        return ClassPredictor(self, condition)

    def check_grid(self, grid: tuple[int, int]) -> None:
        """Refuse another grid than that of the learned positions.

        Raises:
            UserError: it is another one.
        """
        if grid != (self.side, self.side):
            raise UserError(
                f"{grid[0]} x {grid[1]} tokens for a transformer of {self.side} x {self.side}: generate images of the "
                "size that it was trained on"
            )

    def recomputable_blocks(self) -> list[nn.Module]:
        """All blocks."""
        return list(self.transformer["layers"])  # type: ignore[arg-type,call-overload]

    def states(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """What the head reads, [B, N, D]. Arguments as for `forward`.

        Raises:
            UserError: a number of tokens that is not that of the grid.
        """
        if tokens.shape[1] != self.side**2:
            raise UserError(
                f"{tokens.shape[1]} tokens for a transformer of {self.side} x {self.side}: give images of that grid, "
                "or build it with another side"
            )
        condition = self.cls_emb(labels)
        x = self.tok_emb(tokens) + self.pos_emb.weight  # [B, N, D]
        if self.reg_tokens is not None:
            x = torch.cat([x, self.reg_tokens.weight.expand(len(x), -1, -1)], dim=1)  # [B, N + registers, D]
        x = self.dropout(x)
        blocks = self.transformer["layers"]
        assert isinstance(blocks, nn.ModuleList)
        for block in blocks:
            x = block(x, condition)
        return self.last_norm(x[:, : tokens.shape[1]], condition)

    def head(self, states: Tensor) -> Tensor:
        """States [..., D] to logits [..., K], or [..., K + 1] with `mask_logit`."""
        count = self.codebook_size + int(self.mask_logit)
        return F.linear(states, self.tok_emb.weight[:count], self.bias[:count])

    def forward(self, tokens: Tensor, labels: Tensor, *, positions: Tensor | None = None) -> Tensor:
        """Logits of the tokens at `positions`.

        Args:
            tokens: [B, N] int64 ids, row-major, `mask_id` where masked.
            labels: [B] int64 classes, `dropped` for none.
            positions: [B, M] int64 positions to score; all N when None.

        Returns:
            [B, M, K] logits, K + 1 of them with `mask_logit`.
        """
        x = self.states(tokens, labels)
        if positions is not None:
            x = gather_tokens(x, positions)
        return self.head(x)
