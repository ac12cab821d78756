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

Backend = Literal["auto", "sdpa", "xformers", "math"]

_override: ContextVar[Backend | None] = ContextVar("attention backend", default=None)


@contextmanager
def attention_backend(backend: Backend) -> Iterator[None]:
    """Use one backend for every `attend` inside the block, whatever its own argument says."""
    token = _override.set(backend)
    try:
        yield
    finally:
        _override.reset(token)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    backend: Backend = "auto",
) -> Tensor:
    """Scaled dot-product attention.

    Args:
        q: [B, T, H, D] queries.
        k: [B, S, H, D] keys.
        v: [B, S, H, D] values.
        mask: boolean, broadcastable to [B, H, T, S], true where a key may be seen.
        causal: hide keys that come later than the query.
        backend: "auto" takes xformers on a GPU where a probe call works, else PyTorch's own kernel.

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
        plain = mask is None and not causal
        chosen = "xformers" if q.is_cuda and plain and xformers_works(q.device, q.dtype) else "sdpa"
    if chosen == "math":
        return _math(q, k, v, mask, causal)
    if chosen == "xformers":
        return _xformers(q, k, v, mask, causal)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal).transpose(1, 2)


def _math(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    scores = torch.einsum("bthd,bshd->bhts", q, k).float() / q.shape[-1] ** 0.5
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(later, float("-inf"))
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return torch.einsum("bhts,bshd->bthd", scores.softmax(-1).to(v.dtype), v)


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


def _xformers(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    if not xformers_works(q.device, q.dtype):
        raise ValueError(
            f'xformers does not run on {q.device.type} with {q.dtype} here: use backend "sdpa" or "math", '
            "or install the xformers build made for this torch version"
        )
    if mask is not None:
        raise ValueError(
            'the xformers backend takes no boolean mask: use backend "sdpa" or "math" for masked attention'
        )
    from xformers.ops import LowerTriangularMask, memory_efficient_attention

    return memory_efficient_attention(q, k, v, attn_bias=LowerTriangularMask() if causal else None)
