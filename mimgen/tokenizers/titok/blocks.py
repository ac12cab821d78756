"""The two vision transformers of TiTok (Yu et al., 2024, arXiv 2406.07550), under their official key names."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.attention import attend


class Attention(nn.Module):
    """Self-attention with the parameter names of `torch.nn.MultiheadAttention`. [B, T, D] -> [B, T, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        mixed = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = mixed.unflatten(-1, (3, self.heads, -1)).unbind(2)  # [B, T, H, D / H] each
        return self.out_proj(attend(q, k, v).flatten(2))  # [B, T, D]


class Mlp(nn.Module):
    """Linear, GELU, linear, four times as wide in between. [B, T, D] -> [B, T, D]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        return self.c_proj(F.gelu(self.c_fc(x)))


class Block(nn.Module):
    """Pre-norm transformer block of CLIP. [B, T, D] -> [B, T, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = Attention(width, heads), Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class _Trunk(nn.Module):
    """What encoder and decoder share: class token, positions and blocks.

    Args:
        width: of the tokens.
        depth: number of blocks.
        heads: attention heads, a divisor of `width`.
        cells: patches N.
        tokens: latent tokens.

    Raises:
        UserError: `heads` does not divide `width`.
    """

    def __init__(self, width: int, depth: int, heads: int, cells: int, tokens: int) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"width {width} does not divide into {heads} heads: choose a divisor of it")
        scale = width**-0.5
        self.cells = cells
        self.class_embedding = nn.Parameter(scale * torch.randn(1, width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(cells + 1, width))
        self.latent_token_positional_embedding = nn.Parameter(scale * torch.randn(tokens, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.ln_post = nn.LayerNorm(width)

    def _run(self, patches: Tensor, latents: Tensor) -> Tensor:
        """Patch tokens [B, N, D] and latent tokens [B, T, D] to all tokens [B, 1 + N + T, D]."""
        first = self.class_embedding.expand(len(patches), 1, -1)  # [B, 1, D]
        x = torch.cat([first, patches], 1) + self.positional_embedding  # [B, 1 + N, D]
        x = self.ln_pre(torch.cat([x, latents + self.latent_token_positional_embedding], 1))
        for block in self.transformer:
            x = block(x)
        return x


class TiTokEncoder(_Trunk):
    """Images [B, 3, S, S] in [0, 1] and latent tokens to latents [B, C, 1, T].

    Args:
        patch: pixels a side of a patch.
        channels: width C of a latent.
        reshaped: reshape [B, T, D] to [B, D, T, 1] without transposing, so that a latent mixes parts of
            several tokens. That is an oversight of the first releases, whose weights depend on it.
        width, depth, heads, cells, tokens: see `_Trunk`.
    """

    def __init__(
        self,
        patch: int,
        channels: int,
        reshaped: bool,
        *,
        width: int,
        depth: int,
        heads: int,
        cells: int,
        tokens: int,
    ) -> None:
        super().__init__(width, depth, heads, cells, tokens)
        self.reshaped = reshaped
        self.patch_embed = nn.Conv2d(3, width, patch, stride=patch)
        self.conv_out = nn.Conv2d(width, channels, 1)

    def forward(self, images: Tensor, queries: Tensor) -> Tensor:
        """[B, 3, S, S] and learnt tokens [T, D] -> [B, C, 1, T]."""
        patches = self.patch_embed(images).flatten(2).transpose(1, 2)  # [B, N, D]
        x = self._run(patches, queries.expand(len(patches), -1, -1))
        x = self.ln_post(x[:, 1 + self.cells :])  # [B, T, D]
        batch, tokens, width = x.shape
        if self.reshaped:
            return self.conv_out(x.reshape(batch, width, tokens, 1)).reshape(batch, -1, 1, tokens)
        return self.conv_out(x.transpose(1, 2)[:, :, None])  # [B, C, 1, T]


class Patches(nn.Module):
    """Channels (row, column, colour) to pixels. [B, p p 3, h, w] -> [B, 3, h p, w p]."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, x: Tensor) -> Tensor:
        """[B, p p 3, h, w] -> [B, 3, h p, w p]."""
        x = x.unflatten(1, (self.patch, self.patch, 3)).permute(0, 3, 4, 1, 5, 2)  # [B, 3, h, p, w, p]
        return x.flatten(4).flatten(2, 3)  # [B, 3, h p, w p]


class TiTokDecoder(_Trunk):
    """Latents [B, C, 1, T] to images [B, 3, S, S] in [0, 1], or to logits [B, K, g, g] of another tokenizer.

    Args:
        patch: pixels a side of a patch.
        channels: width C of a latent.
        head: "pixels" or "codes".
        classes: number K of codes of the other tokenizer.
        width, depth, heads, cells, tokens: see `_Trunk`.
    """

    def __init__(
        self,
        patch: int,
        channels: int,
        head: Literal["pixels", "codes"],
        classes: int = 0,
        *,
        width: int,
        depth: int,
        heads: int,
        cells: int,
        tokens: int,
    ) -> None:
        super().__init__(width, depth, heads, cells, tokens)
        self.decoder_embed = nn.Linear(channels, width)
        self.mask_token = nn.Parameter(width**-0.5 * torch.randn(1, 1, width))
        if head == "pixels":
            self.ffn = nn.Sequential(nn.Conv2d(width, 3 * patch * patch, 1), Patches(patch))
            painted = nn.Conv2d(3, 3, 3, padding=1)
            # grey, not black: in a short run the way to the mean of [0, 1] costs most of the steps
            nn.init.constant_(painted.bias, 0.5)  # type: ignore[arg-type]
            self.conv_out: nn.Module = painted
        else:
            self.ffn = nn.Sequential(nn.Conv2d(width, 2 * width, 1), nn.Tanh(), nn.Conv2d(2 * width, classes, 1))
            self.conv_out = nn.Identity()

    def forward(self, latents: Tensor) -> Tensor:
        """[B, C, 1, T] -> [B, 3, S, S] or [B, K, g, g]."""
        tokens = self.decoder_embed(latents.flatten(2).transpose(1, 2))  # [B, T, D]
        x = self._run(self.mask_token.expand(len(tokens), self.cells, -1), tokens)
        x = self.ln_post(x[:, 1 : 1 + self.cells]).transpose(1, 2)  # [B, D, N]
        side = round(self.cells**0.5)
        return self.conv_out(self.ffn(x.unflatten(2, (side, side))))
