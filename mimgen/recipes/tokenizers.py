"""Running tokenizers that were trained or converted before over data."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from mimgen.data import Dataset
from mimgen.errors import UserError
from mimgen.tokenizers import ImageQuantizer


def encoder_of(tokenizer: ImageQuantizer) -> Callable[[Tensor], Tensor]:
    """Images [b, 3, H, W] to ids [b, h, w] on the CPU, computed on the best device."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cast(nn.Module, tokenizer).to(device).eval()

    @torch.no_grad()
    def encode(images: Tensor) -> Tensor:
        indices = tokenizer.encode(images.to(device)).indices
        if indices is None:
            raise UserError(f"a {type(tokenizer).__name__} has no codes: pass a tokenizer with a codebook")
        return indices.cpu()

    return encode


def tokenize(dataset: Dataset, tokenizer: ImageQuantizer, *, batch_size: int = 64) -> Tensor:
    """[len, h, w] int64 ids of every image, on the CPU, so that training need not encode them again."""
    encode, parts = encoder_of(tokenizer), []
    for start in range(0, len(dataset), batch_size):
        rows = range(start, min(start + batch_size, len(dataset)))
        parts.append(encode(torch.stack([dataset[row].image for row in rows]).float() / 255))
    return torch.cat(parts)
