"""A vision transformer that returns tokens, levels and attention maps, and merges tokens where asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mimgen.encoders.contract import block_numbers, register_channel_stats
from mimgen.encoders.merging import Merging
from mimgen.errors import UserError
from mimgen.layers.blocks.vit import VitBlock, init_linears
from mimgen.layers.init import init_sincos_pos_embed, init_weights
from mimgen.layers.masks import check_mask
from mimgen.layers.merging import Merged
from mimgen.layers.patch_embed import PatchEmbed, patch_grid
from mimgen.layers.position import resize_position_table
from mimgen.ops.positions import gather_tokens
from mimgen.pretrained import PretrainedModule
from mimgen.types import Mask, Tokens

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class VitTokens(Tokens):
    """`Tokens` of a ViT that may have merged.

    Attributes:
        merged: what became of the tokens, prefix included; None where nothing was to merge.
    """

    merged: Merged | None = None

    @property
    def unmerge(self) -> Tensor:
        """[B, N, D], every patch with the token that it is part of now."""
        if self.merged is None:
            return self.patches
        return self.merged.unmerge(torch.cat([self.prefix, self.patches], dim=1))[:, self.prefix.shape[1] :]


class VitEncoder(PretrainedModule):
    """ViT (Dosovitskiy et al., 2021) with timm's parameter names: `vit_*` checkpoints load as they are.

    Args:
        image_size: side in pixels, or (rows, columns), of the images that the position table was made
            for; images of other sizes and shapes get an interpolated table.
        patch: side of a patch in pixels.
        width: D.
        depth: number of blocks.
        heads: attention heads H.
        mlp_ratio: hidden width of the MLP over D.
        qkv_bias: whether the projection of queries, keys and values has a bias.
        layer_scale: start of a learned scale on both branches; None for none.
        drop_path: rate of the last block, rising linearly from 0.
        eps: of the layer norms.
        class_token: whether a class token precedes the patches.
        pool: what `pool` returns. "class": the class token after the last norm. "mean": the mean over
            patches, then its own norm `fc_norm` (MAE fine-tuning); the tokens then have no last norm.
        classes: outputs of the linear `head`; 0 for none.
        channels: C of the images.
        mean: of the images' channels, subtracted first.
        std: of the images' channels, divided by.
        mask_token: what a mask does. None: masked patches are left out (MAE). "replace": their embedding is
            replaced by a learned token, and all patches are encoded (SimMIM, section 3.3; iBOT, which starts it at
            zero). "add": the token is added to their embedding, which may show filled pixels (A2MIM, section 4.2).
            "visible": they are left out, and the token replaces patches in `Mask.replaced` (HPM's second masking).
        mask_token_std: of the truncated normal that the token starts from; 0 starts it at zero.
        position_margin: cells by which another grid counts as larger when the position table is resized; 0.1 in
            the releases of DINO and iBOT, whose small crops depend on it.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        eps: float = 1e-6,
        class_token: bool = True,
        pool: Literal["class", "mean"] = "class",
        classes: int = 0,
        channels: int = 3,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        mask_token: Literal["replace", "add", "visible"] | None = None,
        mask_token_std: float = 0.02,
        position_margin: float = 0.0,
    ) -> None:
        super().__init__()
        if mask_token not in (None, "replace", "add", "visible"):
            raise UserError(f'mask_token={mask_token!r}: choose "replace", "add", "visible", or None')
        if pool not in ("class", "mean") or (pool == "class" and not class_token):
            raise UserError(f'pool={pool!r}: choose "class" (with class_token=True) or "mean"')
        self.grid = patch_grid(image_size, patch)
        self.dim, self.depth, self.patch = width, depth, patch
        self.mask_patch = patch  # side in pixels of what one entry of a mask covers
        self.masking, self.position_margin = mask_token, position_margin
        self.prefix = int(class_token)
        self.patch_embed = PatchEmbed(patch, width, channels)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.pos_embed = nn.Parameter(torch.zeros(1, self.prefix + self.grid[0] * self.grid[1], width))
        rates = torch.linspace(0, drop_path, depth).tolist()
        self.blocks = nn.ModuleList(
            VitBlock(width, heads, mlp_ratio=mlp_ratio, layer_scale=layer_scale, drop_path=rate, eps=eps,
                     qkv_bias=qkv_bias)
            for rate in rates
        )  # fmt: skip
        if pool == "class":
            self.norm = nn.LayerNorm(width, eps)
        else:
            self.fc_norm = nn.LayerNorm(width, eps)
        self.mean_pooled = pool == "mean"
        self.head = nn.Linear(width, classes) if classes else None
        register_channel_stats(self, mean, std, channels)
        init_linears(self)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        if self.cls_token is not None:
            nn.init.trunc_normal_(self.cls_token, std=0.02)
        # last, so that a seed gives the same other weights with and without it
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width)) if mask_token else None
        if self.mask_token is not None and mask_token_std:
            nn.init.trunc_normal_(self.mask_token, std=mask_token_std)

    def embed(self, images: Tensor, mask: Mask | None = None) -> tuple[Tensor, tuple[int, int]]:
        """Images [B, C, H, W] in [0, 1] to tokens with positions [B, P + K, D], and the full grid.

        K is N where `mask_token` keeps all patches; rows of the mask may then cover different numbers of them.
        """
        grid = self.patch_embed.grid(images)
        images = (images.to(self.pos_embed.dtype) - self.mean) / self.std
        table = resize_position_table(self.pos_embed, self.grid, grid, margin=self.position_margin)
        positions = table[:, self.prefix :].expand(len(images), -1, -1)  # [B, N, D]
        if mask is not None:
            check_mask(mask.masked, len(images), grid[0] * grid[1])
            mask = mask.to(images.device)
        if mask is None or self.masking in ("replace", "add"):
            x = self._with_mask_token(self.patch_embed(images), None if mask is None else mask.masked) + positions
        else:
            # embedding the visible patches alone saves most of the time in front of a masked ViT
            x = self.patch_embed(images, mask.keep)  # [B, K, D]
            if self.masking == "visible" and mask.replaced is not None:
                x = self._with_mask_token(x, mask.replaced.gather(1, mask.keep))
            x = x + gather_tokens(positions, mask.keep)
        if self.cls_token is not None:
            x = torch.cat([(self.cls_token + table[:, :1]).expand(len(x), -1, -1), x], dim=1)  # [B, 1 + K, D]
        return x, grid

    def _with_mask_token(self, x: Tensor, at: Tensor | None) -> Tensor:
        """Embeddings [B, K, D] with the mask token in the place of those `at` [B, K], or added to them."""
        if at is None or self.mask_token is None:
            return x
        token = self.mask_token.to(x.dtype)
        return x + token * at[..., None] if self.masking == "add" else torch.where(at[..., None], token, x)

    def forward(
        self,
        images: Tensor,
        mask: Mask | None = None,
        *,
        layers: Sequence[int] = (),
        attention: Sequence[int] = (),
        merging: Merging | None = None,
    ) -> VitTokens:
        """Images to tokens.

        Args:
            images: [B, C, H, W] in [0, 1], sides multiples of `patch`, any shape.
            mask: masked patches are left out, or kept as `mask_token` describes.
            layers: blocks whose patch tokens are returned as `levels`, counted from 0, negative from the
                end; before the last norm, and unmerged to all patches where tokens merged.
            attention: blocks whose attention maps [B, H, T, T] are returned.
            merging: which tokens merge; without it none do.

        Raises:
            UserError: images that do not divide into patches, a layer that does not exist, or merging
                that is impossible or does not pay.
        """
        wanted, mapped = block_numbers(layers, self.depth), block_numbers(attention, self.depth)
        x, grid = self.embed(images, mask)
        plan = (
            merging.merge_schedule(x.shape[1] - self.prefix, self.depth, self.prefix)
            if merging
            else (0,) * self.depth
        )
        merged = Merged.start(x) if merging else None
        levels, maps = {}, {}
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, VitBlock)
            if layer in mapped:
                sizes = merged.sizes if merging and merged and merging.proportional else None
                maps[layer] = block.attn.maps(block.norm1(x), sizes)
            if merging is None or merged is None:
                x = block(x)
            else:
                x, merged = block.merge_forward(
                    x, merged, plan[layer], proportional=merging.proportional, protected=self.prefix
                )
            if layer in wanted:
                levels[layer] = (x if merged is None else merged.unmerge(x))[:, self.prefix :]
        x = x if self.mean_pooled else self.norm(x)
        return VitTokens(
            patches=x[:, self.prefix :],
            grid=grid,
            prefix=x[:, : self.prefix],
            levels=tuple(levels[layer] for layer in wanted),
            attention=tuple(maps[layer] for layer in mapped),
            merged=merged,
        )

    def pool(self, tokens: VitTokens) -> Tensor:
        """One vector [B, D] an image: the class token, or the mean over patches, a merged one by its size."""
        if not self.mean_pooled:
            return tokens.prefix[:, 0]
        if tokens.merged is None:
            return self.fc_norm(tokens.patches.mean(1))
        sizes = tokens.merged.sizes[:, self.prefix :]
        return self.fc_norm((tokens.patches * sizes).sum(1) / (tokens.merged.count - self.prefix))

    def classify(self, images: Tensor, *, merging: Merging | None = None) -> Tensor:
        """Images [B, C, H, W] in [0, 1] to logits [B, classes]."""
        if self.head is None:
            raise UserError("this encoder has no head: build it with classes=... to classify")
        return self.head(self.pool(self(images, merging=merging)))


def mae_vit(**options: Any) -> VitEncoder:
    """A fresh `VitEncoder` as MAE starts it: fixed sine-cosine positions, Xavier-uniform weights.

    Args:
        options: of `VitEncoder`.
    """
    encoder = VitEncoder(**options)
    init_weights(encoder)
    init_sincos_pos_embed(encoder.pos_embed, encoder.grid)
    return encoder
