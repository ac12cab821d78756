"""BEiT v2: what is scored, that both heads learn, and what deep layers are predicted through."""

import pytest
import torch
import torch.nn.functional as F

from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.methods.beitv2 import BeitPretraining, BEiTv2
from mimgen.tokenizers.centroids import CentroidTokenizer
from mimgen.tokenizers.vqkd.model import VqKd
from mimgen.types import Batch, Mask, SampleRNG


def make_images(count=8):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 4, 4, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)


def objective(tokenizer=None, early=1, depth=2, **options):
    torch.manual_seed(0)
    encoder = BeitPretraining(16, 4, 32, depth, 2, codes=16, early_layers=early, head_layers=1)
    return BEiTv2(encoder, tokenizer or CentroidTokenizer(4, 16), Block(6, 2), **options)


def test_both_heads_learn():
    trained = objective(VqKd(16, 4, 32, 1, 2, codebook_size=16, code_dim=8, feature_dim=12)).train()
    assert not trained.target.coder.training
    optimiser = torch.optim.AdamW((p for p in trained.parameters() if p.requires_grad), 2e-3)
    history = []
    for step in range(25):
        losses = trained(Batch(make_images(), ("",) * 8, ("",) * 8, SampleRNG.for_rows(0, step, range(8))))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        history.append({name: float(term.detach()) for name, term in losses.terms.items()})
    assert all(history[-1][name] < 0.9 * history[0][name] for name in ("code", "bottleneck"))
    assert 0 <= float(losses.metrics["accuracy"]) <= 1


def test_masked_patches_alone_are_scored():
    module, images = objective(bottleneck_weight=0.5).eval(), make_images(2)
    mask = Mask(torch.zeros(2, 16, dtype=torch.bool))
    mask.masked[:, :3] = True
    losses = module(Batch(images), mask)
    ids = module.target(images)
    predicted = module.encoder.predict(images, mask)
    torch.testing.assert_close(losses.terms["code"], F.cross_entropy(predicted.codes, ids[:, :3].flatten()))
    torch.testing.assert_close(losses.terms["bottleneck"], F.cross_entropy(predicted.second, ids[:, :3].flatten()))
    torch.testing.assert_close(losses.total, losses.terms["code"] + 0.5 * losses.terms["bottleneck"])


def test_the_bottleneck_tells_deep_layers_through_the_class_token_alone():
    module, images = objective(early=1, depth=3).eval(), make_images(2)
    mask = Mask(torch.zeros(2, 16, dtype=torch.bool))
    mask.masked[:, 2:7] = True
    network = module.encoder
    real = network.states

    def cut(*inputs):
        x, levels = real(*inputs)
        return torch.cat([x[:, :1].detach(), x[:, 1:]], dim=1), levels

    for states, reported in ((real, True), (cut, False)):
        network.states = states
        network.zero_grad(set_to_none=True)
        module(Batch(images), mask).terms["bottleneck"].backward()
        deep = [p.grad for block in network.blocks[1:] for p in block.parameters()]
        assert any(grad is not None and bool(grad.any()) for grad in deep) == reported
        assert network.blocks[0].mlp.fc1.weight.grad.any()


def test_without_bottleneck_there_is_one_term():
    losses = objective(early=None)(Batch(make_images(2)), Mask(torch.rand(2, 16) < 0.4))
    assert set(losses.terms) == {"code"}


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match="codes=12 and patch=4"):
        objective(CentroidTokenizer(4, 12))
    with pytest.raises(UserError, match="codes=16 and patch=8"):
        objective(CentroidTokenizer(8, 16))
    encoder = BeitPretraining(16, 4, 32, 2, 2, codes=16, early_layers=1, head_layers=1, second=5)
    with pytest.raises(UserError, match="second=None or 16"):
        BEiTv2(encoder, CentroidTokenizer(4, 16))
