"""What all quantisers share: projections, layout, float32, checks, nearest codes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.tokenizers.contract import check_ids
from mimgen.types import Codes

# Scores of one block of rows against all codes, 16 MiB: whatever the number of rows.
BLOCK = 1 << 22


class Quantizer(nn.Module):
    """Continuous latents in, token ids and quantised latents out.

    All of them work in float32 whatever the surrounding precision, since half precision overflows
    in the distances and in the entropy.

    Args:
        dim: width D of the latents.
        code_dim: width of a code; a linear map leads to and from it when it is not `dim`.
        codebook_size: number K of codes.

    Raises:
        UserError: for a width below 1 or fewer than two codes.
    """

    def __init__(self, dim: int, code_dim: int, codebook_size: int) -> None:
        super().__init__()
        if dim < 1 or code_dim < 1:
            raise UserError(f"latents of width {dim} and codes of width {code_dim}: both must be at least 1")
        if codebook_size < 2:
            raise UserError(f"a codebook of {codebook_size} tells nothing apart: give at least 2 codes")
        self.dim = dim
        self.code_dim = code_dim
        self.codebook_size = codebook_size
        self.project_in = nn.Linear(dim, code_dim) if code_dim != dim else nn.Identity()
        self.project_out = nn.Linear(code_dim, dim) if code_dim != dim else nn.Identity()

    def forward(self, latents: Tensor) -> Codes:
        """Quantise latents [B, D, h, w]."""
        raise NotImplementedError

    def lookup(self, indices: Tensor) -> Tensor:
        """Token ids [B, h, w] int64 to the latents [B, D, h, w] that a decoder reads.

        float32, as `forward` computes them before it returns to the precision of its input.

        Raises:
            UserError: ids outside 0..K-1.
        """
        check_ids(indices, self.codebook_size)
        with torch.autocast(indices.device.type, enabled=False):
            return self._map(self._codes(indices.flatten(1)), *indices.shape[1:])

    def _rows(self, latents: Tensor) -> Tensor:
        """[B, D, h, w] to projected float32 rows [B, h w, code width]."""
        if latents.ndim != 4 or latents.shape[1] != self.dim:
            raise UserError(
                f"latents must be [B, {self.dim}, h, w], got {list(latents.shape)}: "
                f"give the encoder {self.dim} output channels or build the quantizer with another dim"
            )
        return _project(self.project_in, latents.flatten(2).transpose(1, 2))  # [B, h w, code width]

    def _map(self, rows: Tensor, height: int, width: int) -> Tensor:
        """Code rows [B, h w, code width] to latents [B, D, h, w]."""
        return _project(self.project_out, rows).transpose(1, 2).unflatten(2, (height, width))  # [B, D, h, w]

    def _codes(self, indices: Tensor) -> Tensor:
        """[B, N] token ids to code rows [B, N, code width]."""
        raise NotImplementedError


def _project(layer: nn.Module, rows: Tensor) -> Tensor:
    """Apply a linear layer in float32 even where its weights are kept in half precision."""
    rows = rows.float()
    if not isinstance(layer, nn.Linear):
        return rows
    return F.linear(rows, layer.weight.float(), layer.bias.float())


@torch.no_grad()
def nearest(rows: Tensor, codebook: Tensor, *, by: str = "distance") -> Tensor:
    """Id of the best code of each row, a block of rows at a time.

    Args:
        rows: [..., D] float32.
        codebook: [K, D] float32.
        by: "distance" (smallest |row - code|) or "product" (largest <row, code>).

    Returns:
        [...] int64; the lower id where two are equally good.
    """
    flat = rows.reshape(-1, rows.shape[-1])  # [n, D]
    # argmin |x - c|^2 = argmax <x, c> - |c|^2 / 2, so one matrix product and no [n, K] distances.
    offset = codebook.square().sum(1) / -2 if by == "distance" else codebook.new_zeros(len(codebook))
    step = max(1, BLOCK // len(codebook))
    found = [torch.addmm(offset, block, codebook.T).argmax(1) for block in flat.split(step)]
    return (torch.cat(found) if found else flat.new_zeros(0, dtype=torch.int64)).view(rows.shape[:-1])
