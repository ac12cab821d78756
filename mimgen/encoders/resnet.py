"""ResNet behind the contract of encoders, with a mask token that acts in the middle of the network (A2MIM)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.encoders.contract import block_numbers, register_channel_stats
from mimgen.encoders.resnet_blocks import BasicBlock, Bottleneck
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.errors import UserError
from mimgen.pretrained import PretrainedModule
from mimgen.types import Mask, Tokens

# layers with weights -> block, blocks of the four stages
DEPTHS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
    200: (Bottleneck, (3, 24, 36, 3)),
}
STEM_STRIDE = 4  # a convolution of stride 2, then pooling of stride 2

TokenKind = Literal["learned", "batch_mean", "image_mean", "zero", "random"]


class ResNetEncoder(PretrainedModule):
    """ResNet with torchvision's parameter names, and A2MIM's token before one stage (arXiv 2205.13943, section 4.2).

    A convolution cannot leave patches out, and zeros at its input are edges that real images do not have; so
    masked pixels are filled beforehand, and the token marks them for the deeper stages. Where it is added and
    not put in their place (`replace` false), an empty mask changes nothing.

    Args:
        depth: 18, 34, 50, 101, 152 or 200.
        stem: channels of the first convolution.
        width: channels inside the blocks of the first stage; each stage doubles them.
        strides: of the stages.
        mask_stage: stage before which the token acts, from 0; 3 in the paper.
        token: "learned"; "batch_mean" of the map over images and space, without gradient, remembered;
            "image_mean" over space; "zero"; "random", sampled once.
        replace: put the token in the place of masked features instead of adding it to them.
        detach: no gradient into masked features (added token only).
        gain: start of a learned gain of masked features before the token is added; 0 for none.
        channels: C of the images.
        mean: of each channel, taken off images in [0, 1].
        std: by which they are then divided.

    Attributes:
        dim: channels of the output.
        depth: blocks of all stages together.
        patch: side in pixels of an output token.
        mask_patch: side in pixels of the cells that are masked.

    Raises:
        UserError: an unknown depth or kind of token, or a stage that does not exist.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        depth: int = 50,
        stem: int = 64,
        width: int = 64,
        strides: tuple[int, ...] = (1, 2, 2, 2),
        mask_stage: int = 3,
        token: TokenKind = "learned",
        replace: bool = False,
        detach: bool = False,
        gain: float = 0.0,
        channels: int = 3,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise UserError(f"a ResNet of depth {depth} is unknown: choose from {', '.join(map(str, DEPTHS))}")
        block, counts = DEPTHS[depth]
        if not 0 <= mask_stage < len(strides) <= len(counts):
            raise UserError(f"strides {strides} make {len(strides)} stages (1 to 4), which lack number {mask_stage}")
        if token not in ("learned", "batch_mean", "image_mean", "zero", "random"):
            raise UserError(f'token {token!r} is unknown: "learned", "batch_mean", "image_mean", "zero" or "random"')
        self.token, self.replace, self.detach, self.mask_stage = token, replace, detach, mask_stage
        self.conv1 = nn.Conv2d(channels, stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        widths, inputs = [stem], stem
        for stage, stride in enumerate(strides):
            blocks = []
            for index in range(counts[stage]):
                blocks.append(block(inputs, width * 2**stage, stride if index == 0 else 1))
                inputs = width * 2**stage * block.expansion
            self.add_module(f"layer{stage + 1}", nn.ModuleList(blocks))
            widths.append(inputs)
        self.stages, self.dim, self.depth = len(strides), inputs, sum(counts[: len(strides)])
        self.patch, self.mask_patch = (STEM_STRIDE * math.prod(strides[:stop]) for stop in (len(strides), mask_stage))
        self.mask_token = nn.Parameter(torch.zeros(1, widths[mask_stage], 1, 1), requires_grad=token == "learned")
        # named like a token, so that it is exempt from weight decay
        initial = torch.full((1, widths[mask_stage], 1, 1), float(gain))
        self.token_gain = nn.Parameter(initial) if gain > 0 else None
        register_channel_stats(self, mean, std, channels)
        self._init_weights()

    def _init_weights(self) -> None:
        """Initial weights: He normal for kernels, truncated normal 0.02 for a token that is not computed."""
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        if self.token in ("learned", "random"):
            nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, images: Tensor, mask: Mask | None = None, *, layers: Sequence[int] = ()) -> Tokens:
        """Images to tokens of the last grid.

        Args:
            images: [B, C, H, W] in [0, 1], sides multiples of `patch`.
            mask: of the grid of cells of `mask_patch` pixels.
            layers: blocks, counted from 0 over all stages or negative from the end, whose maps are returned as
                `levels`, each with the width and the grid of its stage.

        Raises:
            UserError: images or a mask that do not fit, or a layer that does not exist.
        """
        wanted = block_numbers(layers, self.depth)
        x, levels, number = self.embed(images), {}, 0
        for stage in range(self.stages):
            if mask is not None and stage == self.mask_stage:
                x = self._masked(x, mask)
            for block in self.get_submodule(f"layer{stage + 1}").children():
                x = block(x)
                if number in wanted:
                    levels[number] = x.flatten(2).transpose(1, 2)
                number += 1
        patches = x.flatten(2).transpose(1, 2)  # [B, N, dim]
        levels_found = tuple(levels[layer] for layer in wanted)
        return Tokens(patches, (x.shape[2], x.shape[3]), patches[:, :0], levels_found)

    def embed(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] to the map [B, stem, H / 4, W / 4].

        Raises:
            UserError: another number of channels, or sides that are no multiples of `patch`.
        """
        channels, (height, width) = self.conv1.in_channels, images.shape[-2:]
        if images.ndim != 4 or images.shape[1] != channels or height % self.patch or width % self.patch:
            raise UserError(
                f"this encoder takes images [B, {channels}, H, W] with sides that are multiples of {self.patch} "
                f"pixels, got {list(images.shape)}: convert, resize or crop them"
            )
        x = F.relu(self.bn1(self.conv1((images.to(self.dtype) - self.mean) / self.std)))
        return F.max_pool2d(x, 3, 2, 1)

    def _masked(self, x: Tensor, mask: Mask) -> Tensor:
        """The map [B, D, h, w] with the token at masked cells."""
        if mask.masked.shape[1] != x.shape[2] * x.shape[3]:
            raise UserError(
                f"the mask is of {mask.masked.shape[1]} cells, the map before stage {self.mask_stage} has "
                f"{x.shape[2]} x {x.shape[3]}: mask cells of {self.mask_patch} pixels"
            )
        masked = mask.masked.to(x.device).unflatten(1, x.shape[2:])[:, None]  # [B, 1, h, w]
        token = self._token(x)
        if self.replace:
            return torch.where(masked, token.to(x.dtype), x)
        there = x.detach() if self.detach else x
        there = there if self.token_gain is None else there * self.token_gain
        return torch.where(masked, there + token, x)

    def _token(self, x: Tensor) -> Tensor:
        """The token [1 or B, D, 1, 1] for a map [B, D, h, w]."""
        if self.token == "image_mean":
            return x.mean((2, 3), keepdim=True)
        if self.token == "batch_mean" and self.training:
            with torch.no_grad():
                self.mask_token.copy_(x.float().mean((0, 2, 3), keepdim=True))  # kept for evaluation
        return self.mask_token
