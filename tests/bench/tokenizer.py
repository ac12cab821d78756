"""`python -m tests.bench tokenizer`: entropy of binary codes, search of codes and token merging, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mimgen.cli.options import parse
from mimgen.encoders.merging import Merging
from mimgen.encoders.vit import VitEncoder
from mimgen.layers.blocks.vit import VitBlock
from mimgen.layers.merging import Merged, match
from mimgen.tokenizers.quantizers import LookupFreeQuantizer, VectorQuantizer
from tests.bench.peak_memory import peak_in_child

__all__ = ["bench", "bench_entropy", "bench_merging", "bench_search", "main"]

MIB = 2**20


@dataclass(frozen=True)
class Options:
    """Time the parts of a tokenizer against vector-quantize-pytorch and against no merging.

    Attributes:
        bits: of lookup-free codes, whose number is 2^bits.
        positions: positions of a batch for which our entropy is measured.
        library_positions: positions at which both are timed; the library's matrices of positions x codes
            must fit in memory (about 0.5 GiB at 64 x 2^18).
        codes: size of the learned codebook.
        width: of its codes.
        searched: positions to encode with it.
        pixels: side of the images for the vision transformer (ViT-S, patches of 16).
        removed: tokens merged away in each layer.
        batch: images at a time.
        repeats: runs of each kind; the fastest counts.
    """

    bits: int = 18
    positions: int = 4096
    library_positions: int = 64
    codes: int = 16384
    width: int = 32
    searched: int = 1024
    pixels: int = 224
    removed: int = 13
    batch: int = 4
    repeats: int = 3


def main(arguments: list[str]) -> int:
    """Run `python -m tests.bench tokenizer`; the exit status is 1 where results disagree."""
    options = parse(Options, arguments, "python -m tests.bench tokenizer")
    measured = bench(**asdict(options))
    entropy, search, merging = (measured[part] for part in ("entropy", "search", "merging"))
    print(
        f"LFQ entropy, 2^{options.bits} codes, training step of the layer\n"
        f"  ours, {options.positions} positions: {entropy['seconds']:.2f} s, {entropy['extra_mib']:.0f} MiB extra\n"
        f"  both at {options.library_positions} positions: ours {entropy['same_s']:.3f} s, library "
        f"{entropy['library_s']:.3f} s: {entropy['ratio']:.1f} times as fast; the library needs "
        f"{entropy['library_extra_mib']:.0f} MiB there\n"
        f"nearest of {options.codes} codes, {options.searched} positions\n"
        f"  ours {search['seconds']:.3f} s, library {search['library_s']:.3f} s: "
        f"{search['ratio']:.1f} times as fast\n"
        f"token merging, ViT-S, {options.removed} tokens per layer\n"
        f"  match and merge cost {100 * merging['overhead']:.1f} % of a block; a whole encoder runs "
        f"{merging['ratio']:.2f} times as fast ({merging['merged_s']:.2f} s for {merging['plain_s']:.2f} s)"
    )
    agree = entropy["agree"] and search["agree"]
    print("results agree with the library's" if agree else "results DIFFER from the library's: please report this")
    return 0 if agree else 1


def bench(
    bits: int = 18,
    positions: int = 4096,
    library_positions: int = 64,
    codes: int = 16384,
    width: int = 32,
    searched: int = 1024,
    pixels: int = 224,
    removed: int = 13,
    batch: int = 4,
    repeats: int = 3,
    seed: int = 0,
) -> dict[str, Any]:
    """All three measurements; arguments as in `Options`.

    Returns:
        {"entropy", "search", "merging"}: what the three functions below return.
    """
    return {
        "entropy": bench_entropy(bits, positions, library_positions, repeats, seed),
        "search": bench_search(codes, width, searched, repeats, seed),
        "merging": bench_merging(pixels, removed, batch, repeats, seed),
        "threads": torch.get_num_threads(),
    }


def fastest(repeats: int, *runs: Callable[[], object]) -> list[float]:
    """Least seconds of each run; they alternate, so that another load on the machine meets all."""
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for run, kept in zip(runs, seconds):
            start = time.perf_counter()
            run()
            kept.append(time.perf_counter() - start)
    return [min(kept) for kept in seconds]


def bench_entropy(
    bits: int = 18, positions: int = 4096, library_positions: int = 64, repeats: int = 3, seed: int = 0
) -> dict[str, Any]:
    """Forward and backward of the whole LFQ layer in training mode, ours and the library's.

    Speed is compared at `library_positions` for both, since the library's matrices of 4096 x 2^18
    numbers do not fit. Memory is what a fresh process's resident memory peaks at above its state
    before the step: ours at `positions`, the library's at `library_positions`.

    Returns:
        {"seconds", "extra_mib" (ours at `positions`), "same_s", "library_s", "library_extra_mib" (both at
        `library_positions`), "ratio" library / ours, "agree"}.
    """
    few = _latents(bits, library_positions, seed)
    ours, library = _our_lfq(bits), _library_lfq(bits)
    agree = all(_close(a, b) for a, b in zip(_step(ours, few), _step(library, few)))
    same_s, library_s = fastest(repeats, lambda: _step(ours, few), lambda: _step(library, few))
    many = _latents(bits, positions, seed)
    (seconds,) = fastest(repeats, lambda: _step(ours, many))
    return {
        "seconds": seconds,
        "extra_mib": peak_in_child(_lfq_step, ("ours", bits, positions, seed)) / MIB,
        "same_s": same_s,
        "library_s": library_s,
        "library_extra_mib": peak_in_child(_lfq_step, ("library", bits, library_positions, seed)) / MIB,
        "ratio": library_s / same_s,
        "agree": bool(agree),
    }


def _latents(bits: int, positions: int, seed: int) -> Tensor:
    """Positions [1, bits, positions, 1] that are undecided enough for gradients to mean something."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, bits, positions, 1, generator=generator).mul_(0.02).requires_grad_()


def _our_lfq(bits: int) -> Callable[[Tensor], Tensor]:
    layer = LookupFreeQuantizer(bits, normalise=False).train()
    return lambda latents: torch.stack(list(layer(latents).losses.values())).sum()


def _library_lfq(bits: int) -> Callable[[Tensor], Tensor]:
    from vector_quantize_pytorch import LFQ

    layer = LFQ(dim=bits, commitment_loss_weight=0.25).train()
    return lambda latents: layer(latents).entropy_aux_loss


def _step(loss: Callable[[Tensor], Tensor], latents: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and gradient for the latents."""
    value = loss(latents)
    (gradient,) = torch.autograd.grad(value, latents)
    return value.detach(), gradient


def _close(a: Tensor, b: Tensor) -> bool:
    return float((a - b).abs().max()) <= 1e-3 * float(b.abs().max())


def _lfq_step(kind: str, bits: int, positions: int, seed: int) -> Callable[[], object]:
    """Everything set up, and run once for few codes; what is returned makes the step to measure."""
    make = _our_lfq if kind == "ours" else _library_lfq
    _step(make(2), _latents(2, positions, seed))
    loss, latents = make(bits), _latents(bits, positions, seed)
    return lambda: _step(loss, latents)


@torch.no_grad()
def bench_search(
    codes: int = 16384, width: int = 32, searched: int = 1024, repeats: int = 3, seed: int = 0
) -> dict[str, Any]:
    """Encoding of positions in evaluation mode with our search and with the library's layer.

    Returns:
        {"seconds", "library_s", "ratio" library / ours, "agree"}.
    """
    torch.manual_seed(seed)
    quantizer = VectorQuantizer(width, codes, kmeans=False).eval()
    latents = torch.randn(1, width, searched, 1)
    rows = latents.flatten(2).transpose(1, 2).contiguous()
    ours, library = quantizer(latents).indices.flatten(), quantizer.vq(rows)[1].flatten()
    seconds, library_s = fastest(repeats, lambda: quantizer(latents), lambda: quantizer.vq(rows))
    return {
        "seconds": seconds,
        "library_s": library_s,
        "ratio": library_s / seconds,
        # Two codes may be equally near to rounding.
        "agree": float((ours == library).float().mean()) > 0.999,
    }


@torch.no_grad()
def bench_merging(
    pixels: int = 224, removed: int = 13, batch: int = 4, repeats: int = 3, seed: int = 0
) -> dict[str, Any]:
    """Cost of matching and merging against a block of ViT-S, and the gain of a whole ViT-S.

    Returns:
        {"block_s", "merging_s", "overhead" merging / block, "plain_s", "merged_s" of the encoder,
        "ratio" plain / merged}.
    """
    torch.manual_seed(seed)
    width, heads, depth = 384, 6, 12
    tokens = 1 + (pixels // 16) ** 2
    block, x = VitBlock(width, heads).eval(), torch.randn(batch, tokens, width)
    start, keys = Merged.start(x), torch.randn(batch, tokens, heads, width // heads)
    merging_s, block_s = fastest(
        # Short runs: more of them, or the clock decides.
        4 * repeats,
        lambda: start.through(x, match(keys.mean(2), removed)),
        lambda: block(x),
    )
    encoder = VitEncoder(pixels, width=width, depth=depth, heads=heads).eval()
    images, merging = torch.rand(batch, 3, pixels, pixels), Merging(removed)
    plain_s, merged_s = fastest(repeats, lambda: encoder(images), lambda: encoder(images, merging=merging))
    return {
        "block_s": block_s,
        "merging_s": merging_s,
        "overhead": merging_s / block_s,
        "plain_s": plain_s,
        "merged_s": merged_s,
        "ratio": plain_s / merged_s,
    }
