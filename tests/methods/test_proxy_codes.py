"""Stage 1 of TiTok: predicting another tokenizer's codes."""

import pytest
import torch
import torch.nn.functional as F

from mimgen.errors import UserError
from mimgen.methods.proxy_codes import ProxyCodes
from mimgen.tokenizers import ConvTokenizer
from mimgen.tokenizers.titok import TiTokProxy
from mimgen.types import Batch, SampleRNG

SIZES = {"image_size": 16, "tokens": 4, "patch": 4, "encoder": (32, 2, 2), "codebook_size": 32, "token_size": 6}


def batch(codes=None):
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return Batch(images, ("",) * 4, ("",) * 4, SampleRNG(range(4)), codes=codes)


def objective(**options):
    torch.manual_seed(0)
    teacher = ConvTokenizer(8, (1,), 1, 4, 6, "fsq", levels=(4, 4))
    return ProxyCodes(TiTokProxy(**{**SIZES, "classes": 16, **options}), teacher)


def test_the_loss_is_the_cross_entropy_of_the_teachers_ids():
    made = objective().eval()
    losses = made(batch())
    logits = made.tokenizer.logits(made.tokenizer.encode(batch().images).latents)
    expected = F.cross_entropy(logits, made.teacher.encode(batch().images).indices)
    torch.testing.assert_close(losses.terms["cross_entropy"], expected)
    assert 0 <= losses.metrics["accuracy"] <= 1


def test_cached_codes_replace_the_teacher():
    made = objective()
    ids = made.targets(batch())
    made.teacher.encode = None
    torch.testing.assert_close(
        made(batch(ids)).terms["cross_entropy"], made(batch(ids)).terms["cross_entropy"]
    )


def test_training_moves_the_tokenizer_and_leaves_the_teacher():
    made = objective().train()
    assert not made.teacher.training
    before = {name: value.clone() for name, value in made.teacher.state_dict().items()}
    optimizer = torch.optim.Adam(made.clip_groups()[0], 3e-3)
    first = made(batch()).terms["cross_entropy"].item()
    for _ in range(40):
        optimizer.zero_grad()
        losses = made(batch())
        losses.total.backward()
        optimizer.step()
    assert losses.terms["cross_entropy"].item() < 0.8 * first
    assert {"codebook", "commitment"} <= set(losses.terms)
    assert losses.metrics["active_codes"] >= 1
    assert all(torch.equal(value, before[name]) for name, value in made.teacher.state_dict().items())


def test_a_teacher_that_does_not_fit_is_named():
    with pytest.raises(UserError, match=r"classes=teacher\.codebook_size"):
        objective(classes=15)
    with pytest.raises(UserError, match=r"decoder_patch=teacher\.downsample"):
        objective(decoder_patch=8)(batch())
