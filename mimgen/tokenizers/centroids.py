"""A tokenizer without a network: the codes are k-means centres of raw patches (CCViT, arXiv 2303.04664)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.pretrained import PretrainedModule
from mimgen.tokenizers.contract import check_ids, check_images, latents_of
from mimgen.tokenizers.kmeans import assign
from mimgen.types import Codes


class CentroidTokenizer(PretrainedModule):
    """The nearest centroid of every patch; decoding pastes the centroids side by side.

    A patch is laid out channel first, (channel, row, column), as `pixel_unshuffle` does. A fresh part
    holds noise; `fit_centroids` fills it from images.

    Args:
        patch: side of a patch in pixels.
        codebook_size: number K of centroids.
    """

    centroids: Tensor

    def __init__(self, patch: int = 16, codebook_size: int = 8192) -> None:
        super().__init__()
        self.downsample, self.codebook_size = patch, codebook_size
        noise = torch.rand(codebook_size, 3 * patch * patch, generator=torch.Generator().manual_seed(0))
        self.register_buffer("centroids", noise)

    @classmethod
    def from_centroids(cls, centroids: Tensor) -> CentroidTokenizer:
        """A tokenizer of centroids [K, 3 patch^2] in [0, 1], channel first."""
        patch = round((centroids.shape[1] / 3) ** 0.5)
        if 3 * patch * patch != centroids.shape[1]:
            raise UserError(
                f"centroids of {centroids.shape[1]} numbers are no square RGB patches: pass [K, 3 * patch * patch]"
            )
        tokenizer = cls(patch, len(centroids))
        tokenizer.centroids.copy_(centroids)
        return tokenizer

    @property
    def device(self) -> torch.device:
        """Where the centroids are."""
        return self.centroids.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the centroids."""
        return self.centroids.dtype

    @torch.no_grad()
    def encode(self, images: Tensor) -> Codes:
        """[B, 3, H, W] in [0, 1] to codes [B, H / patch, W / patch]; latents are the centroids."""
        check_images(images, self.downsample)
        patches = F.pixel_unshuffle(images.float(), self.downsample).permute(0, 2, 3, 1)
        ids = assign(patches.flatten(0, 2), self.centroids).view(patches.shape[:3])
        return Codes(ids, self._entries(ids))

    def decode(self, codes: Codes | Tensor) -> Tensor:
        """Codes, latents or ids [B, h, w] to images [B, 3, H, W], clipped to [0, 1]."""
        return self.reconstruct(latents_of(codes, self, self.centroids.shape[1])).clamp(0, 1)

    def reconstruct(self, latents: Tensor) -> Tensor:
        """Centroids [B, 3 patch^2, h, w] to images [B, 3, H, W], not clipped."""
        return F.pixel_shuffle(latents, self.downsample)

    def lookup(self, indices: Tensor) -> Tensor:
        """Ids [B, h, w] to centroids [B, 3 patch^2, h, w] float32.

        Raises:
            UserError: ids outside 0..K-1.
        """
        check_ids(indices, self.codebook_size)
        return self._entries(indices)

    def _entries(self, indices: Tensor) -> Tensor:
        return self.centroids[indices].float().permute(0, 3, 1, 2)  # [B, 3 patch^2, h, w]
