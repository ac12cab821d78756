"""Decoders of masked image modelling: from an encoder's tokens to a prediction for every patch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.blocks.vit import VitBlock
from mimgen.layers.init import init_sincos_pos_embed, init_weights
from mimgen.layers.patch_embed import patch_grid
from mimgen.layers.position import resize_position_table
from mimgen.ops.positions import gather_tokens
from mimgen.pretrained import PretrainedModule
from mimgen.types import Mask, Tokens


class MaeDecoder(PretrainedModule):
    """MAE's decoder: mask tokens join the visible ones at their positions, then a few blocks (MAE, section 3).

    Names are the official ones without "decoder_". Positions are fixed sines and cosines.

    Args:
        image_size: side in pixels, or (rows, columns), of the images that the position table is made for.
        patch: side of a patch in pixels.
        encoder_width: width of the encoder's tokens.
        width: of the decoder.
        depth: blocks.
        heads: attention heads.
        output: numbers predicted for each patch; those of its pixels by default.
        prefix: class or register tokens of the encoder; they take part and are dropped at the end.
        mlp_ratio: hidden width of the MLPs over `width`.
        eps: of the layer norms.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch: int = 16,
        encoder_width: int = 768,
        width: int = 512,
        depth: int = 8,
        heads: int = 16,
        output: int | None = None,
        prefix: int = 1,
        mlp_ratio: float = 4.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.grid, self.prefix = patch_grid(image_size, patch), prefix
        self.dim = output or 3 * patch * patch
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, prefix + self.grid[0] * self.grid[1], width))
        self.blocks = nn.ModuleList(VitBlock(width, heads, mlp_ratio=mlp_ratio, eps=eps) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps)
        self.pred = nn.Linear(width, self.dim)
        init_weights(self)
        init_sincos_pos_embed(self.pos_embed, self.grid)

    def forward(self, tokens: Tokens, mask: Mask) -> Tensor:
        """Predictions [B, N, output] for every patch of the grid, masked or not.

        Args:
            tokens: of the visible patches, ascending, as an encoder gives them for `mask`.
            mask: of all N patches.

        Raises:
            UserError: other numbers of tokens than the mask leaves, or another number of prefix tokens.
        """
        x = self.joined(tokens, mask)
        for block in self.blocks:
            x = block(x)
        return self.pred(self.norm(x))[:, self.prefix :]

    def joined(self, tokens: Tokens, mask: Mask) -> Tensor:
        """What the blocks read: prefix and all patches with positions [B, P + N, width], as `forward` takes them."""
        visible, prefix = tokens.patches.shape[1], tokens.prefix.shape[1]
        if visible != mask.keep.shape[1] or prefix != self.prefix:
            raise UserError(
                f"this decoder takes {self.prefix} prefix tokens and {mask.keep.shape[1]} visible patches, got "
                f"{prefix} and {visible}: pair it with an encoder that leaves masked patches out, and pass "
                f"prefix={prefix}"
            )
        x = self.embed(torch.cat([tokens.prefix, tokens.patches], dim=1))  # [B, P + K, width]
        mask_tokens = self.mask_token.to(x.dtype).expand(len(x), mask.drop.shape[1], -1)
        patches = torch.cat([x[:, prefix:], mask_tokens], dim=1)  # [B, N, width], the visible ones first
        table = resize_position_table(self.pos_embed, self.grid, tokens.grid)
        return torch.cat([x[:, :prefix], gather_tokens(patches, mask.restore.to(x.device))], dim=1) + table


class LinearDecoder(PretrainedModule):
    """SimMIM's decoder: one linear map from a token to the pixels under it (SimMIM, section 3.4).

    It reads encoders that keep the full grid, coarser ones too: the pixels are cut into patches again.

    Args:
        encoder_width: width of the encoder's tokens.
        stride: pixels per side under one of them.
        patch: side in pixels of the patches of the prediction, a divisor of `stride` or equal to it.
        channels: of the images.

    Raises:
        UserError: a patch that does not divide the stride.
    """

    def __init__(self, encoder_width: int = 1024, stride: int = 32, patch: int = 4, channels: int = 3) -> None:
        super().__init__()
        if stride % patch:
            raise UserError(f"patches of {patch} pixels do not divide tokens of {stride}: change patch or stride")
        self.stride, self.patch, self.dim = stride, patch, channels * patch * patch
        self.decoder = nn.Conv2d(encoder_width, channels * stride * stride, 1)

    def forward(self, tokens: Tokens, mask: Mask | None = None) -> Tensor:
        """Predictions [B, N, channels patch^2] in the order (channel, row, column) for every patch."""
        return F.pixel_unshuffle(self.images(tokens), self.patch).flatten(2).transpose(1, 2)

    def images(self, tokens: Tokens) -> Tensor:
        """The same as images [B, channels, H, W], in the units of the target.

        Raises:
            UserError: tokens of visible patches only.
        """
        rows, columns = tokens.grid
        if tokens.patches.shape[1] != rows * columns:
            raise UserError(
                f"a linear decoder needs all {rows * columns} tokens of the grid, got {tokens.patches.shape[1]}: take "
                "an encoder with a mask token"
            )
        maps = tokens.patches.transpose(1, 2).unflatten(2, (rows, columns))  # [B, D, rows, columns]
        return F.pixel_shuffle(self.decoder(maps), self.stride)
