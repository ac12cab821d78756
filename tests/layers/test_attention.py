"""The three attention kernels agree, and an absent one is refused by name."""

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
