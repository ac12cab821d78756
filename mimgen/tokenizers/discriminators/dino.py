"""A discriminator on the features of a frozen DINO vision transformer (VAR, arXiv 2404.02905)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.blocks.vit import Mlp, VitBlock
from mimgen.layers.patch_embed import PatchEmbed
from mimgen.pretrained import load_strictly
from mimgen.tokenizers.discriminators.base import Discriminator
from mimgen.tokenizers.discriminators.heads import head
from mimgen.types import SampleRNG

HEAD_WIDTH = 64  # channels of an attention head in every released DINO transformer
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FastMlp(Mlp):
    """The MLP with the approximate GELU of the release, although DINO was trained with the exact one."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class FrozenDino(nn.Module):
    """The frozen transformer; gradients reach the images, never the weights.

    Args:
        width: of a token.
        heads: attention heads.
        depth: blocks.
        patch: pixels a side of a token.
        mlp_ratio: hidden width of the MLP over `width`.
        pixels: side of the images it was trained on.
    """

    x_scale: Tensor
    x_shift: Tensor

    def __init__(self, width: int, heads: int, depth: int, patch: int, mlp_ratio: float, pixels: int) -> None:
        super().__init__()
        mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
        # [-1, 1] to [0, 1] and ImageNet's normalisation in one affine map
        self.register_buffer("x_scale", (0.5 / deviation)[None, :, None, None])
        self.register_buffer("x_shift", ((0.5 - mean) / deviation)[None, :, None, None])
        self.patch_embed = PatchEmbed(patch, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (pixels // patch) ** 2, width))
        self.blocks = nn.ModuleList(VitBlock(width, heads, mlp_ratio=mlp_ratio) for _ in range(depth))
        for block in self.blocks:
            block.mlp = FastMlp(width, int(mlp_ratio * width))
        self.norm = nn.LayerNorm(width, 1e-6)  # unread; kept because it is in the released file
        self.requires_grad_(False)
        self.loaded = False
        self.register_load_state_dict_post_hook(_mark_loaded)

    def forward(self, images: Tensor, depths: tuple[int, ...]) -> list[Tensor]:
        """Patch tokens plus the class token, [B, D, L] each, before the first block and after `depths`.

        Args:
            images: [B, 3, pixels, pixels] in [-1, 1].
            depths: numbers of blocks, from 0.
        """
        patches = self.patch_embed(images * self.x_scale + self.x_shift)  # [B, L, D]
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        found = [x]
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in depths:
                found.append(x)
        return [(tokens[:, 1:] + tokens[:, :1]).transpose(1, 2) for tokens in found]  # [B, D, L] each


class DinoDiscriminator(Discriminator):
    """Heads on several depths of a frozen DINO transformer; positive logits mean real.

    Keys are those of the official release (`dino.blocks.0...`, `heads.0.0.0.weight_orig`, ...). The frozen
    weights are in the state dict, so a saved folder is complete; a new one gets them by `load_dino`
    and refuses to evaluate without them.

    Args:
        width: of a token.
        heads: attention heads.
        depth: blocks that are run.
        readouts: numbers of the blocks after which a head reads, besides the one before block 0;
            those from `depth` on are left out.
        kernel: odd kernel of the heads' residual convolution over the tokens.
        patch: pixels a side of a token.
        mlp_ratio: hidden width of the transformer's MLP over `width`.
        pixels: side of the images inside; others are resized.

    Raises:
        UserError: even `kernel`.
    """

    def __init__(
        self,
        width: int = 384,
        heads: int = 6,
        depth: int = 12,
        readouts: tuple[int, ...] = (2, 5, 8, 11),
        kernel: int = 9,
        patch: int = 16,
        mlp_ratio: float = 4.0,
        pixels: int = 224,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise UserError(f"DinoDiscriminator: kernel must be odd, got {kernel}")
        self.pixels = pixels
        self.readouts = tuple(number for number in readouts if number < depth)
        self.dino = FrozenDino(width, heads, depth, patch, mlp_ratio, pixels)
        self.heads = nn.ModuleList(head(width, kernel) for _ in range(1 + len(self.readouts)))

    def view(self, images: Tensor, rng: SampleRNG) -> Tensor:
        """Images larger than the transformer's: half of them as a random crop, half of them resized.

        Args:
            images: [B, 3, H, W] in [-1, 1].
            rng: three numbers of each stream choose crop or resize, and the corner.
        """
        side = self.pixels
        top, left = images.shape[-2] - side, images.shape[-1] - side
        if min(top, left) < 0 or max(top, left) == 0:
            return images
        shown = []
        for image, (choice, row, column) in zip(images, rng.uniform(3).tolist(), strict=True):
            y, x = int(row * (top + 1)), int(column * (left + 1))
            crop = choice < 0.5
            shown.append(image[:, y : y + side, x : x + side] if crop else _resized(image[None], side)[0])
        return torch.stack(shown)

    def features(self, images: Tensor) -> list[Tensor]:
        """What the heads read: [B, D, L] for each readout, of images [B, 3, H, W] in [-1, 1].

        Raises:
            UserError: the frozen weights were never loaded.
        """
        if not self.dino.loaded:
            raise UserError(
                "this DinoDiscriminator has no DINO weights: open it with open_discriminator('dino', pixels, "
                "weights), weights being the file of DINO ViT-S/16 on disk"
            )
        return self.dino(_resized(images, self.pixels), self.readouts)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1] to logits [B, R * L] of R readouts and L patches."""
        pairs = zip(self.heads, self.features(images), strict=True)
        return torch.cat([head(tokens).flatten(1) for head, tokens in pairs], dim=1)  # [B, R L]


def load_dino(path: Path, readouts: tuple[int, ...] = (2, 5, 8, 11), kernel: int = 9) -> DinoDiscriminator:
    """A discriminator with fresh heads on the frozen transformer in a file.

    Args:
        path: state dict of a DINO vision transformer for 224 pixels in the key layout of timm and of the
            official release (`blocks.0.attn.qkv.weight`, ...): .safetensors, or .pth with tensors only.
        readouts: see `DinoDiscriminator`.
        kernel: see `DinoDiscriminator`.

    Raises:
        UserError: no such file, or not such a transformer.
    """
    tensors = {name: value.float() for name, value in _read(path).items() if not name.startswith("head.")}
    try:
        sizes = _sizes(tensors)
    except (KeyError, IndexError) as missing:
        raise UserError(f"{path} is not a DINO vision transformer: it lacks {missing}") from missing
    discriminator = DinoDiscriminator(**sizes, readouts=readouts, kernel=kernel)
    width = sizes["width"]
    for name, value in tensors.items():
        if name.endswith("qkv.bias"):
            # as in the release: a bias of the keys shifts all logits of a query alike, so it says nothing
            tensors[name] = torch.cat([value[:width], torch.zeros(width), value[2 * width :]])
    frozen = discriminator.dino
    fixed = {"x_scale": frozen.x_scale, "x_shift": frozen.x_shift}
    load_strictly(frozen, {**tensors, **fixed}, str(path))
    return discriminator


def _sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments that fit the tensors of a transformer."""
    width, _, patch, _ = tensors["patch_embed.proj.weight"].shape
    side = round((tensors["pos_embed"].shape[1] - 1) ** 0.5)
    return {
        "width": width,
        "heads": max(1, width // HEAD_WIDTH),
        "depth": len({name.split(".")[1] for name in tensors if name.startswith("blocks.")}),
        "patch": patch,
        "mlp_ratio": len(tensors["blocks.0.mlp.fc1.weight"]) / width,
        "pixels": side * patch,
    }


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise UserError(
            f"no DINO weights at {path}: download DINO ViT-S/16 (dino_deitsmall16_pretrain.pth, or timm's "
            "vit_small_patch16_224.dino) yourself and pass the file"
        )
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _mark_loaded(module: Any, incompatible: Any) -> None:
    module.loaded = True


def _resized(images: Tensor, side: int) -> Tensor:
    """[B, 3, H, W] to [B, 3, side, side]: area when it gets smaller, bicubic when larger."""
    if images.shape[-2:] == (side, side):
        return images
    if images.shape[-2] > side:
        return F.interpolate(images, (side, side), mode="area")
    return F.interpolate(images, (side, side), mode="bicubic")
