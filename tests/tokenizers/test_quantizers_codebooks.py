"""Learned codebooks: search, revival after a collapse, gradients, digits of residual ids."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mimgen.tokenizers import ConvTokenizer
from mimgen.tokenizers.quantizers import (
    IndexBackpropQuantizer,
    ResidualQuantizer,
    SimpleVectorQuantizer,
    VectorQuantizer,
    base,
    nearest,
)


def clusters(step, count=512):
    """Latents [1, 4, count, 1] around 100 centres."""
    generator = torch.Generator().manual_seed(step)
    centres = torch.randn(100, 4, generator=torch.Generator().manual_seed(99))
    rows = centres[torch.randint(100, (count,), generator=generator)]
    return (rows + 0.1 * torch.randn(count, 4, generator=generator)).T[None, ..., None]


def collapsed(**options):
    """A codebook whose codes all lie on one point far away."""
    quantizer = VectorQuantizer(4, 64, kmeans=False, decay=0.9, **options)
    codebook = quantizer.vq._codebook
    codebook.embed.fill_(5.0)
    codebook.embed_avg.fill_(5.0)
    return quantizer


def usage(quantizer):
    indices = quantizer.eval()(clusters(1000, 2048)).indices
    return len(indices.unique()) / quantizer.codebook_size


def test_revival_cures_a_collapse():
    cured, left = collapsed(), collapsed(revive_below=0)
    for step in range(30):
        cured(clusters(step))
        left(clusters(step))
    assert usage(cured) > 0.9
    assert usage(left) < 0.5, "the start was not bad enough to show anything"


def test_revival_leaves_a_codebook_alone_that_has_a_code_for_every_position():
    quantizer, eager = VectorQuantizer(4, 64), VectorQuantizer(4, 64, revive_below=1.0)
    errors = []
    for module in (quantizer, eager):
        for step in range(60):
            module(clusters(step, 64))
        module.eval()
        errors.append(torch.nn.functional.mse_loss(module(clusters(7, 999)).latents, clusters(7, 999)))
    assert errors[0] < errors[1]
    assert usage(quantizer) > 0.9


@pytest.mark.parametrize("by", ["distance", "product"])
def test_nearest_is_the_best_of_all(monkeypatch, by):
    # Blocks of three rows.
    monkeypatch.setattr(base, "BLOCK", 60)
    generator = torch.Generator().manual_seed(0)
    rows, codes = torch.randn(2, 7, 5, generator=generator), torch.randn(20, 5, generator=generator)
    scores = rows @ codes.T if by == "product" else -torch.cdist(rows, codes)
    assert torch.equal(nearest(rows, codes, by=by), scores.argmax(-1))
    assert nearest(rows[:0], codes, by=by).shape == (0, 7)


@pytest.mark.parametrize("cosine", [False, True])
def test_encoding_picks_the_librarys_codes(cosine):
    torch.manual_seed(0)
    quantizer = VectorQuantizer(4, 64, cosine=cosine).eval()
    x = clusters(0)
    quantised, indices, _ = quantizer.vq(x.flatten(2).transpose(1, 2))
    codes = quantizer(x)
    assert torch.equal(codes.indices.flatten(1), indices)
    torch.testing.assert_close(codes.latents.flatten(2).transpose(1, 2), quantised)


@pytest.mark.parametrize("make", [SimpleVectorQuantizer, IndexBackpropQuantizer])
def test_one_step_moves_codes_that_were_not_chosen(make):
    torch.manual_seed(0)
    quantizer = make(4, 32)
    # Few positions, so that most codes go without.
    x = clusters(0, 3)
    codes = quantizer(x)

    def table():
        return quantizer.lookup(torch.arange(32)[None, None]).detach().clone()

    before = table()
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.1)
    sum(codes.losses.values()).backward()
    optimizer.step()
    moved = (table() - before).abs().amax(1).flatten() > 0
    assert len(codes.indices.unique()) <= 3
    assert moved.all()


def test_residual_ids_are_digits_lowest_first():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(4, 8, 3, kmeans=False)
    assert quantizer.levels == (8, 8, 8) and quantizer.codebook_size == 512
    tables = [layer.lookup(torch.arange(8)[None, None])[0, :, 0] for layer in quantizer.layers]
    expected = tables[0][:, 3] + tables[1][:, 0] + tables[2][:, 5]
    torch.testing.assert_close(quantizer.lookup(torch.tensor([[[3 + 8 * 0 + 64 * 5]]]))[0, :, 0, 0], expected)


def test_residual_levels_take_the_error_down_and_pass_the_gradient_once():
    errors = []
    for depth in (1, 2, 3):
        quantizer = ResidualQuantizer(4, 16, depth)
        for step in range(10):
            quantizer(clusters(step))
        x = clusters(20).requires_grad_()
        quantizer(x).latents.sum().backward()
        torch.testing.assert_close(x.grad, torch.ones_like(x))
        errors.append(float((quantizer.eval()(x).latents - x).detach().square().mean()))
    assert errors[0] > 1.5 * errors[1] > 2.0 * errors[2]


def test_digits_of_tokenizers():
    conv = {"channels": 8, "multipliers": (1,), "blocks": 1, "stem": 4, "latent": 4, "codebook_size": 8}
    residual = ConvTokenizer(**conv, quantizer="residual", depth=3)
    assert residual.levels == (8, 8, 8) and residual.codebook_size == 512
    assert ConvTokenizer(**conv, quantizer="ibq").levels is None


def test_decoding_with_rounded_codes_leaves_the_library_alone():
    program = """
import sys, torch
from mimgen.tokenizers import ConvTokenizer
for kind in ("fsq", "lfq", "bsq", "ibq"):
    ConvTokenizer(8, (1,), 1, 4, 4, kind, 8).eval().decode(torch.zeros(1, 2, 2, dtype=torch.int64))
assert "vector_quantize_pytorch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
