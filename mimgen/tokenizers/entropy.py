"""Entropies of soft code assignments, the loss of lookup-free quantisation.

For codes made of independent bits no row x code matrix is needed: with the bits in two groups,
p(code | row) = a(first half) b(second half), so the mean over rows is one product of two narrow matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mimgen.ops.distributed import distributed_mean
from mimgen.tokenizers.ranks import all_reduce_mean

Logarithm = Literal["clamp", "shift"]

# Rows at a time: a block of 2^18 codes needs about ten matrices of 256 x 512 numbers.
BLOCK_ROWS = 256
FLOOR = 1e-5


@dataclass(frozen=True)
class Entropies:
    """Entropies in nats of soft code assignments, both scalars.

    Attributes:
        sample: mean entropy of one position's distribution over codes; low means decided.
        codebook: entropy of the mean distribution; high means that all codes are in use.
    """

    sample: Tensor
    codebook: Tensor


def code_entropies(
    latents: Tensor,
    codes: Tensor,
    *,
    inverse_temperature: float = 100.0,
    logarithm: Logarithm = "clamp",
) -> Entropies:
    """Entropies of p(code | latent) = softmax(2 t <latent, code>) (MAGVIT-v2, equation 4).

    For any codes; needs [n, K] numbers.

    Args:
        latents: [n, D] float32.
        codes: [K, D] float32.
        inverse_temperature: t in the formula.
        logarithm: "clamp" takes log max(p, 1e-5) as vector-quantize-pytorch does; "shift" takes
            the exact logarithm for the sample and log(p + 1e-5) for the codebook, as
            Open-MAGVIT2 does. They differ in the third digit.

    The mean distribution is taken over all processes, whose numbers of rows may differ.
    """
    logits = 2.0 * inverse_temperature * latents @ codes.T  # [n, K]
    probabilities = logits.softmax(-1)
    logs = probabilities.clamp(min=FLOOR).log() if logarithm == "clamp" else logits.log_softmax(-1)
    return _reduced(-(probabilities * logs).sum(), probabilities.sum(0), len(latents), logarithm)


def binary_entropies(
    latents: Tensor, *, inverse_temperature: float = 100.0, logarithm: Logarithm = "clamp"
) -> Entropies:
    """`code_entropies` for all 2^bits codes of entries +-1, exactly, without a row x code matrix.

    Memory for a block of rows, forward and backward, and 2^bits mean probabilities; whatever the number of rows.

    Args:
        latents: [n, bits] float32; for codes +-s give latents * s.
        inverse_temperature: t of softmax(2 t <latent, code>).
        logarithm: as for `code_entropies`, to rounding.

    The mean distribution is taken over all processes, whose numbers of rows may differ.
    """
    sample, joint = _BinarySums.apply(latents, inverse_temperature, logarithm)
    return _reduced(sample, joint, len(latents), logarithm)


class _BinarySums(torch.autograd.Function):
    """`_binary_sums` of all rows, a block at a time, computed again in the backward pass.

    The same as checkpointing each block; PyTorch's own takes seconds to import at the first step.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sharpness: float, logarithm: Logarithm) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(rows)
        ctx.options = (sharpness, logarithm)
        blocks = rows.split(BLOCK_ROWS)
        sample, joint = _binary_sums(blocks[0], sharpness, logarithm)
        for block in blocks[1:]:
            further, distributions = _binary_sums(block, sharpness, logarithm)
            sample, joint = sample.add_(further), joint.add_(distributions)
        return sample, joint

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (rows,) = ctx.saved_tensors
        found = torch.empty_like(rows)
        for block, position in zip(rows.split(BLOCK_ROWS), found.split(BLOCK_ROWS)):
            with torch.enable_grad():
                block = block.detach().requires_grad_()
                sums = _binary_sums(block, *ctx.options)
            position.copy_(torch.autograd.grad(sums, block, gradients)[0])
        return found, None, None


def _reduced(sample: Tensor, probabilities: Tensor, rows: int, logarithm: Logarithm) -> Entropies:
    """Entropies from sums over this process's rows: of row entropies, and of probabilities [...]."""
    count = torch.tensor(rows, device=sample.device)
    mean = all_reduce_mean(distributed_mean(probabilities, count))
    logs = mean.clamp(min=FLOOR).log() if logarithm == "clamp" else (mean + FLOOR).log()
    return Entropies(distributed_mean(sample, count), -(mean * logs).sum())


def _binary_sums(rows: Tensor, sharpness: float, logarithm: Logarithm) -> tuple[Tensor, Tensor]:
    """Sum of entropies and sum of distributions [2^half, 2^rest] of rows [m, bits]."""
    half = rows.shape[1] // 2
    first, second = (_log_probabilities(part, sharpness) for part in (rows[:, :half], rows[:, half:]))
    joint = first.exp().T @ second.exp()  # [2^half, 2^rest]
    if logarithm == "clamp":
        return _clamped_entropy(first, second), joint
    # Bits are independent, so entropies add up: softplus(-m) + m sigmoid(-m) for log odds +-m.
    odds = 4.0 * sharpness * rows.abs()
    return (F.softplus(-odds) + odds * (-odds).sigmoid()).sum(), joint


def _log_probabilities(rows: Tensor, sharpness: float) -> Tensor:
    """[m, 2^bits] log softmax(2 t <row, code>) of rows [m, bits]; channel 0 is the highest bit."""
    bits = rows.shape[1]
    positions = torch.arange(bits - 1, -1, -1, device=rows.device)
    codes = (torch.arange(2**bits, device=rows.device)[:, None] >> positions) % 2 * 2.0 - 1.0
    return (2.0 * sharpness * rows @ codes.T).log_softmax(-1)


def _clamped_entropy(first: Tensor, second: Tensor) -> Tensor:
    """Sum over rows and pairs of -p log max(p, floor), log p = first + second.

    The floor takes away the independence of the bits, but in descending order the entries of `second`
    above the floor are a prefix for each entry of `first`, so that running sums give every pair.

    Args:
        first: [m, A] log probabilities.
        second: [m, B] log probabilities.
    """
    floor = math.log(FLOOR)
    ordered = second.sort(-1, descending=True).values
    above = torch.searchsorted(-ordered.detach(), first.detach() - floor, right=True)
    mass = F.pad(ordered.exp().cumsum(-1), (1, 0))  # [m, B + 1]: index 0 is the empty prefix
    weighted = F.pad((ordered.exp() * ordered).cumsum(-1), (1, 0))
    kept = mass.gather(1, above)  # [m, A]
    inner = first * kept + weighted.gather(1, above) + floor * (mass[:, -1:] - kept)
    return -(first.exp() * inner).sum()
