"""Entropies of soft assignments: the factorised form is the full one, without its matrix."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mimgen.tokenizers import entropy
from mimgen.tokenizers.entropy import binary_entropies, code_entropies


def every_code(bits):
    positions = torch.arange(bits - 1, -1, -1)
    return (torch.arange(2**bits)[:, None] >> positions) % 2 * 2.0 - 1.0


def rows(count, bits):
    return torch.randn(count, bits, generator=torch.Generator().manual_seed(bits)).requires_grad_()


@pytest.mark.parametrize("logarithm", ["clamp", "shift"])
@pytest.mark.parametrize("sharpness", [0.05, 1.0, 100.0])
@pytest.mark.parametrize("bits", [1, 2, 7, 10])
def test_factorised_equals_full(monkeypatch, logarithm, sharpness, bits):
    # Several blocks, the last one smaller.
    monkeypatch.setattr(entropy, "BLOCK_ROWS", 16)
    x = rows(40, bits)
    options = {"inverse_temperature": sharpness, "logarithm": logarithm}
    full, ours = code_entropies(x, every_code(bits), **options), binary_entropies(x, **options)
    torch.testing.assert_close(ours.sample, full.sample, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.codebook, full.codebook, rtol=1e-5, atol=1e-5)
    expected, found = (torch.autograd.grad(e.sample - 2 * e.codebook, x)[0] for e in (full, ours))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


class Largest(TorchDispatchMode):
    """Largest number of entries of any tensor that is made."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor):
                self.entries = max(self.entries, value.numel())
        return result


@pytest.mark.parametrize("logarithm", ["clamp", "shift"])
def test_no_row_by_code_matrix_is_made(logarithm):
    x = rows(600, 18)
    with Largest() as largest:
        found = binary_entropies(x, logarithm=logarithm)
        (found.sample - found.codebook).backward()
    assert 2**18 <= largest.entries <= 2**19
    assert torch.isfinite(x.grad).all() and x.grad.abs().max() > 0


def test_entropies_of_known_distributions():
    codes = torch.tensor([[1.0], [-1.0]])
    decided = code_entropies(torch.tensor([[1.0], [-1.0]]), codes)
    assert decided.sample == pytest.approx(0, abs=1e-4)
    assert decided.codebook == pytest.approx(0.6931, abs=1e-3)
    undecided = code_entropies(torch.zeros(2, 1), codes, logarithm="shift")
    assert undecided.sample == pytest.approx(0.6931, abs=1e-3)
    # 18 undecided bits: all 2^18 codes alike.
    assert binary_entropies(torch.zeros(3, 18), logarithm="shift").sample == pytest.approx(18 * 0.6931, abs=1e-2)
