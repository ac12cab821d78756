"""LPIPS: distance of images in the features of a VGG-16 (arXiv 1801.03924).

The weights are files that the user puts on disk; nothing is downloaded and nothing else is ever
used in their place.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError

log = logging.getLogger(__name__)

# Positions of the convolutions in torchvision's vgg16().features; a pooling stands between blocks,
# and the output of each block is compared.
BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
NETWORK_FILES = ("vgg16*.safetensors", "vgg16*.pth")
HEAD_FILES = ("lpips*.safetensors", "lpips*.pth", "vgg_lpips.pth", "vgg.pth")


class Perceptual(nn.Module):
    """LPIPS with VGG-16 features and learnt channel weights.

    The weights are buffers outside the state dict, so checkpoints do not carry them.

    Args:
        network: state dict of torchvision's VGG-16 (`features.0.weight`, ...).
        heads: state dict of the linear heads (`lin0.model.1.weight` [1, C, 1, 1], ...).
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, network: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> None:
        super().__init__()
        for block, layers in enumerate(BLOCKS):
            for layer in layers:
                for part in ("weight", "bias"):
                    name = f"{part}{layer}"
                    self.register_buffer(name, network[f"features.{layer}.{part}"].float(), persistent=False)
            head = heads[f"lin{block}.model.1.weight"].float()
            self.register_buffer(f"head{block}", head, persistent=False)
        # ImageNet's mean and deviation, for images in [-1, 1]
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        self.register_buffer("shift", shift[:, None, None], persistent=False)
        self.register_buffer("scale", scale[:, None, None], persistent=False)

    def _features(self, images: Tensor) -> list[Tensor]:
        """Block outputs [B, C, h, w], each position of unit length."""
        x = (images - self.shift) / self.scale
        found = []
        for block, layers in enumerate(BLOCKS):
            x = F.max_pool2d(x, 2) if block else x
            for layer in layers:
                weight, bias = getattr(self, f"weight{layer}"), getattr(self, f"bias{layer}")
                x = F.relu(F.conv2d(x, weight, bias, padding=1))
            found.append(x / (x.norm(dim=1, keepdim=True) + 1e-10))  # [B, C, h, w]
        return found

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Distance [B] of two batches of images [B, 3, H, W] in [-1, 1], 0 for equal ones."""
        total = images.new_zeros(len(images))
        for block, (a, b) in enumerate(zip(self._features(images), self._features(others), strict=True)):
            total = total + F.conv2d((a - b).square(), getattr(self, f"head{block}")).mean((1, 2, 3))
        return total


def open_perceptual(folder: Path | None) -> Perceptual | None:
    """Load LPIPS from a folder with the VGG-16 of torchvision and the linear heads of LPIPS.

    Args:
        folder: holds a file named like vgg16*.pth and one named like lpips*.pth or vgg.pth
            (.safetensors as well). With None there is no perceptual term, and the log says so.

    Raises:
        UserError: when a folder is given and one of the two files is not in it or lacks weights.
    """
    if folder is None:
        log.warning("no perceptual loss: no folder with VGG-16 and LPIPS weights; nothing stands in for it")
        return None
    network, heads = _read(folder, NETWORK_FILES), _read(folder, HEAD_FILES)
    try:
        return Perceptual(network, heads)
    except KeyError as missing:
        raise UserError(
            f"perceptual weights in {folder} lack {missing}: put VGG-16 and LPIPS there"
        ) from missing


def _read(folder: Path, patterns: tuple[str, ...]) -> Mapping[str, Tensor]:
    found = [path for pattern in patterns for path in sorted(Path(folder).glob(pattern))]
    if not found:
        wanted = " or ".join(patterns)
        raise UserError(f"no file {wanted} in {folder}: put it there, or leave the perceptual loss out")
    if found[0].suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(found[0])
    return torch.load(found[0], map_location="cpu", weights_only=True)
