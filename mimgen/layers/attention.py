"""One attention call for the whole package, over three interchangeable kernels."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError

Backend = Literal["auto", "sdpa", "xformers", "math"]

_override: ContextVar[Backend | None] = ContextVar("attention backend", default=None)
_maps: ContextVar[list[Tensor] | None] = ContextVar("attention maps", default=None)


@contextmanager
def attention_backend(backend: Backend) -> Iterator[None]:
    """Use one backend for every `attend` inside the block, whatever its `backend` argument is."""
    token = _override.set(backend)
    try:
        yield
    finally:
        _override.reset(token)


@contextmanager
def attention_maps() -> Iterator[list[Tensor]]:
    """Collect the maps [B, H, T, S] float32 of every `attend` inside the block, in the order of the calls.

    The fused kernels show no maps, so they are computed besides; meant for analysis, not for training.
    """
    found: list[Tensor] = []
    token = _maps.set(found)
    try:
        yield found
    finally:
        _maps.reset(token)


def check_heads(width: int, heads: int) -> None:
    """Raise a `UserError` unless `width` divides into `heads`."""
    if heads < 1 or width % heads:
        raise UserError(f"width {width} does not divide into {heads} heads: change one of them")


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    backend: Backend = "auto",
) -> Tensor:
    """Scaled dot-product attention softmax(q k / sqrt(D) + bias) v.

    Args:
        q: [B, T, H, D] queries.
        k: [B, S, H, D] keys.
        v: [B, S, H, D] values.
        mask: boolean, broadcastable to [B, H, T, S], true where a query may attend to a key.
        bias: floating, broadcastable to [B, H, T, S], added to the logits; gradients reach it.
        causal: mask keys that come later than the query.
        dropout: probability of dropping a weight of a key; 0 outside of training.
        backend: "auto" takes xformers for plain attention on a GPU where a probe call works, else PyTorch's
            own kernel, which takes everything.

    Returns:
        [B, T, H, D].

    Raises:
        ValueError: for an unknown backend, or one asked for by name that does not work here.
    """
    chosen = _override.get() or backend
    if chosen not in get_args(Backend):
        raise ValueError(
            f'unknown attention backend "{chosen}": choose one of {", ".join(get_args(Backend))}'
        )
    if chosen == "auto":
        plain = mask is None and bias is None and not causal
        chosen = "xformers" if q.is_cuda and plain and xformers_works(q.device, q.dtype) else "sdpa"
    if (maps := _maps.get()) is not None:
        maps.append(_weights(q, k, _logit_mask(q, k, mask, bias, causal)))
    if chosen == "xformers":
        return _xformers(q, k, v, mask, bias, causal, dropout)
    # causality alone goes as a flag, which lets the kernel skip the upper half
    only_causal = causal and mask is None and bias is None
    added = None if only_causal and chosen == "sdpa" else _logit_mask(q, k, mask, bias, causal)
    if chosen == "math":
        return _math(q, k, v, added, dropout)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # PyTorch's kernel wants [B, H, T, D]
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=added, is_causal=only_causal, dropout_p=dropout)
    return mixed.transpose(1, 2)


def _logit_mask(
    q: Tensor, k: Tensor, mask: Tensor | None, bias: Tensor | None, causal: bool
) -> Tensor | None:
    """Mask, bias and causality as one: boolean or to be added, of 4 dimensions, broadcastable to [B, H, T, S]."""
    if causal:
        earlier = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool, device=q.device).tril()  # [T, S]
        mask = earlier if mask is None else mask & earlier
    both = mask
    if bias is not None:
        bias = bias.to(q.dtype)
        both = bias if mask is None else torch.where(mask, bias, float("-inf"))
    # PyTorch's quick kernels refuse masks of 3 dimensions
    return None if both is None else both[(None,) * (4 - both.ndim)]


def _weights(q: Tensor, k: Tensor, added: Tensor | None) -> Tensor:
    scores = torch.einsum("bthd,bshd->bhts", q, k).float() / q.shape[-1] ** 0.5  # [B, H, T, S]
    if added is not None:
        scores = scores.masked_fill(~added, float("-inf")) if added.dtype == torch.bool else scores + added
    return scores.softmax(-1)


def _math(q: Tensor, k: Tensor, v: Tensor, added: Tensor | None, dropout: float) -> Tensor:
    return torch.einsum("bhts,bshd->bthd", F.dropout(_weights(q, k, added).to(v.dtype), dropout), v)


@functools.cache
def xformers_works(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether xformers computes attention forward and backward here; importing alone proves nothing."""
    try:
        from xformers.ops import memory_efficient_attention

        probe = torch.zeros(1, 8, 1, 32, device=device, dtype=dtype, requires_grad=True)
        memory_efficient_attention(probe, probe, probe).sum().backward()
    except (ImportError, OSError, NotImplementedError, RuntimeError, AttributeError, ValueError):
        return False
    return True


def _xformers(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, bias: Tensor | None, causal: bool, dropout: float
) -> Tensor:
    if not xformers_works(q.device, q.dtype):
        raise ValueError(
            f'xformers does not run on {q.device.type} with {q.dtype} here: use backend "sdpa" or "math", '
            "or install the xformers build made for this torch version"
        )
    if mask is not None or (causal and bias is not None):
        what = "no boolean mask" if mask is not None else "no bias in causal attention"
        raise ValueError(f'the xformers backend takes {what}: use backend "auto", "sdpa" or "math"')
    from xformers.ops import LowerTriangularMask, memory_efficient_attention

    if bias is not None:
        return memory_efficient_attention(q, k, v, attn_bias=_aligned(bias, q, k), p=dropout)
    return memory_efficient_attention(q, k, v, attn_bias=LowerTriangularMask() if causal else None, p=dropout)


def _aligned(bias: Tensor, q: Tensor, k: Tensor) -> Tensor:
    """The bias in full, [B, H, T, S], in rows whose length in memory is a multiple of 8, as the kernel wants."""
    keys = k.shape[1]
    full = bias.to(q.dtype).expand(q.shape[0], q.shape[2], q.shape[1], keys)
    return F.pad(full, (0, -keys % 8))[..., :keys]
