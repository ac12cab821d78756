"""The three attention kernels agree, and an absent one is refused by name."""

import sys
import types

import pytest
import torch

from mimgen.layers.attention import attend, attention_backend


def qkv(length: int = 5, keys: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, length, 3, 8), (2, keys, 3, 8), (2, keys, 3, 8)]
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)  # type: ignore[return-value]


@pytest.mark.parametrize("masked", [False, True])
def test_math_equals_sdpa(masked: bool) -> None:
    q, k, v = qkv()
    mask = torch.rand(2, 1, 5, 7, generator=torch.Generator().manual_seed(1)) > 0.4 if masked else None
    if mask is not None:
        mask[..., 0] = True
    torch.testing.assert_close(
        attend(q, k, v, mask=mask, backend="math"), attend(q, k, v, mask=mask, backend="sdpa")
    )


def test_causal_hides_the_future() -> None:
    q, k, v = qkv(keys=5)
    before = attend(q, k, v, causal=True, backend="math")
    k[:, 3:], v[:, 3:] = 9.0, 9.0
    after = attend(q, k, v, causal=True, backend="math")
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])
    torch.testing.assert_close(after, attend(q, k, v, causal=True, backend="sdpa"))


def test_context_overrides_argument() -> None:
    q, k, v = qkv()
    with attention_backend("xformers"), pytest.raises(ValueError, match="sdpa"):
        attend(q, k, v, backend="math")


def test_unknown_backend_names_the_choices() -> None:
    with pytest.raises(ValueError, match="sdpa, xformers, math"):
        attend(*qkv(), backend="flash")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 1, 1, 7), (5, 7)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_a_bias_is_added_to_the_logits(shape: tuple[int, ...], masked: bool, causal: bool) -> None:
    q, k, v = qkv()
    bias = torch.randn(shape, generator=torch.Generator().manual_seed(2)).requires_grad_()
    seen = torch.ones(2, 1, 5, 7, dtype=torch.bool)
    if masked:
        seen = (torch.arange(7) != 3).expand(2, 1, 5, 7)
    scores = torch.einsum("bthd,bshd->bhts", q, k) / 8**0.5 + bias
    allowed = seen & torch.ones(5, 7, dtype=torch.bool).tril() if causal else seen
    expected = torch.einsum("bhts,bshd->bthd", scores.masked_fill(~allowed, -torch.inf).softmax(-1), v)
    wanted = torch.autograd.grad(expected.square().sum(), bias)[0]
    for backend in ("auto", "sdpa", "math"):
        found = attend(q, k, v, mask=seen if masked else None, bias=bias, causal=causal, backend=backend)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(torch.autograd.grad(found.square().sum(), bias)[0], wanted)


def pretend_xformers(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor | None]:
    """A stand-in for the library; returns the list of biases that its kernel was given."""
    given: list[torch.Tensor | None] = []

    def kernel(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, attn_bias: torch.Tensor | None = None, p: float = 0.0
    ) -> torch.Tensor:
        given.append(attn_bias)
        return attend(q, k, v, bias=attn_bias, dropout=p, backend="math")

    ops = types.ModuleType("xformers.ops")
    ops.memory_efficient_attention, ops.LowerTriangularMask = kernel, lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "xformers", types.ModuleType("xformers"))
    monkeypatch.setitem(sys.modules, "xformers.ops", ops)
    monkeypatch.setattr("mimgen.layers.attention.xformers_works", lambda *_: True)
    return given


def test_xformers_gets_the_whole_bias_in_aligned_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    given, (q, k, v) = pretend_xformers(monkeypatch), qkv()
    bias = torch.randn(2, 1, 1, 7, generator=torch.Generator().manual_seed(2))
    found = attend(q, k, v, bias=bias, backend="xformers")
    torch.testing.assert_close(found, attend(q, k, v, bias=bias, backend="math"))
    assert given[0] is not None and given[0].shape == (2, 3, 5, 7) and given[0].stride(2) == 8


def test_xformers_refuses_what_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_xformers(monkeypatch)
    with pytest.raises(ValueError, match='boolean mask: use backend "auto"'):
        attend(*qkv(), mask=torch.ones(5, 7, dtype=torch.bool), backend="xformers")
    with pytest.raises(ValueError, match='bias in causal attention: use backend "auto"'):
        attend(*qkv(), bias=torch.zeros(5, 7), causal=True, backend="xformers")


@pytest.mark.parametrize("backend", ["sdpa", "math"])
def test_dropout_keeps_the_mean(backend: str) -> None:
    q, k, v = qkv()
    torch.manual_seed(0)
    rows = [attend(q, k, v, dropout=0.5, backend=backend) for _ in range(400)]  # type: ignore[arg-type]
    assert not torch.equal(rows[0], rows[1])
    assert (torch.stack(rows).mean(0) - attend(q, k, v)).abs().max() < 0.4
    assert torch.equal(attend(q, k, v, dropout=0.0), attend(q, k, v))
