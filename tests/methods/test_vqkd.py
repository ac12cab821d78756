"""VQ-KD learns its teacher: similarity rises, codes are used, the teacher stays."""

import pytest
import torch

from mimgen.encoders.beit import BeitEncoder
from mimgen.errors import UserError
from mimgen.methods.vqkd import FeatureReconstruction
from mimgen.targets import FeatureTarget, HogTarget
from mimgen.tokenizers.vqkd.model import VqKd
from mimgen.types import Batch, SampleRNG


def batch(seed=0, count=16):
    """Images of four kinds of stripes in random colours."""
    generator = torch.Generator().manual_seed(seed)
    stripes = ((torch.arange(16) // 2) % 2).float()
    shapes = torch.stack([stripes.expand(16, 16), stripes[:, None].expand(16, 16)]).repeat(count // 2, 1, 1)
    images = shapes[:, None] * torch.rand(count, 3, 1, 1, generator=generator)
    return Batch(images, ("",) * count, ("",) * count, SampleRNG(range(count)))


def objective(teacher):
    torch.manual_seed(0)
    tokenizer = VqKd(16, 4, 32, 1, 2, decoder_depth=1, codebook_size=16, code_dim=8, feature_dim=teacher.dim)
    return FeatureReconstruction(tokenizer, teacher)


def test_it_learns():
    trained = objective(HogTarget(4)).train()
    optimiser = torch.optim.AdamW((p for p in trained.parameters() if p.requires_grad), 3e-3)
    similarities = []
    for step in range(40):
        losses = trained(batch(step))
        assert set(losses.terms) == {"cosine", "commitment"}
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        similarities.append(float(losses.metrics["similarity"]))
    assert similarities[-1] > 0.8 > 0.5 > similarities[0]
    assert float(losses.metrics["active_codes"]) > 4


def test_the_teacher_stays():
    teacher = BeitEncoder(16, 4, 16, 1, 2)
    trained = objective(FeatureTarget(teacher)).train()
    assert not teacher.training
    trained(batch()).total.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert trained.tokenizer.training


def test_evaluation_has_no_commitment_and_moves_nothing():
    module = objective(HogTarget(4)).eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert set(module(batch()).terms) == {"cosine"}
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_teacher_that_does_not_fit_is_named():
    tokenizer = VqKd(16, 4, 16, 1, 2, decoder_depth=1, codebook_size=8, code_dim=4, feature_dim=10)
    with pytest.raises(UserError, match=f"feature_dim={HogTarget(4).dim}"):
        FeatureReconstruction(tokenizer, HogTarget(4))
    with pytest.raises(UserError, match="patch=8"):
        FeatureReconstruction(tokenizer, HogTarget(8))
