"""CCViT: what is scored, what is shown, that both heads learn, and any tokenizer as the target."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.methods.beitv2 import BeitPretraining
from mimgen.methods.ccvit import CCViT
from mimgen.tokenizers import ConvTokenizer
from mimgen.tokenizers.centroids import CentroidTokenizer
from mimgen.types import Batch, Mask, SampleRNG


def make_images(count=8):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 4, 4, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)


def batch(step=0, count=8):
    return Batch(make_images(count), ("",) * count, ("",) * count, SampleRNG.for_rows(0, step, range(count)))


def objective(tokenizer=None, **options):
    torch.manual_seed(0)
    encoder = BeitPretraining(16, 4, 32, 2, 2, codes=16, early_layers=1, head_layers=1, second=48)
    codes = tokenizer or CentroidTokenizer(4, 16)
    return CCViT(encoder, codes, Block(6, 2), replaced=2, **options)


def test_both_heads_learn():
    trained = objective().train()
    optimiser = torch.optim.AdamW((p for p in trained.parameters() if p.requires_grad), 1e-3)
    history = []
    for step in range(30):
        losses = trained(batch(step))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        history.append({name: float(term.detach()) for name, term in losses.terms.items()})
    assert set(history[0]) == {"code", "pixel"}
    assert history[-1]["code"] < 0.9 * history[0]["code"]
    assert history[-1]["pixel"] <= history[0]["pixel"]
    assert 0 <= float(losses.metrics["accuracy"]) <= 1


def test_the_loss_is_on_hidden_and_replaced_patches_only():
    module = objective().eval()
    masked, replaced = torch.zeros(2, 16, dtype=torch.bool), torch.zeros(2, 16, dtype=torch.bool)
    masked[:, :3], replaced[:, 5:7] = True, True
    images = make_images(2)
    mask = Mask(masked, masked | replaced, replaced)
    base = module(Batch(images), mask).terms
    goals = {"elsewhere": slice(12, 16), "scored": slice(0, 4)}
    found = {}
    for name, corner in goals.items():
        goal = images.clone()
        goal[:, :, corner, corner] = torch.rand(2, 3, 4, 4)
        module.target.forward = lambda _images, goal=goal: type(module.target).forward(module.target, goal)
        module.pixels.forward = lambda _images, goal=goal: type(module.pixels).forward(module.pixels, goal)
        found[name] = module(Batch(images), mask).terms
    same, other = found["elsewhere"], found["scored"]
    assert all(torch.equal(base[name], same[name]) for name in base)
    assert not torch.equal(base["pixel"], other["pixel"])


def test_a_mean_over_scored_patches():
    module = objective().eval()
    masked, replaced = torch.zeros(2, 16, dtype=torch.bool), torch.zeros(2, 16, dtype=torch.bool)
    masked[:, :3], replaced[:, 5:7] = True, True
    images = make_images(2)
    mask = Mask(masked, masked | replaced, replaced)
    terms = module(Batch(images), mask).terms
    ids = module.target(images)
    network = module.encoder
    final, second = network.streams(network.normalised(module.corrupted(images, ids, mask)), masked)
    logits = network.lm_head(final[:, 1:])[:, [0, 1, 2, 5, 6]]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, [0, 1, 2, 5, 6]].flatten())
    torch.testing.assert_close(terms["code"], expected)
    pixels = network.cls_pt_lm_head(second[:, 1:]) - module.pixels(images)
    torch.testing.assert_close(terms["pixel"], pixels[:, [0, 1, 2, 5, 6]].square().mean())


def test_weights_and_the_frozen_tokenizer():
    tokenizer = ConvTokenizer(8, (1,), blocks=1, stem=4, latent=6, quantizer="vq", codebook_size=16)
    trained = objective(tokenizer, pixel_weight=0.0).train()
    assert not tokenizer.training
    losses = trained(batch())
    torch.testing.assert_close(losses.total, losses.terms["code"])
    losses.total.backward()
    assert all(parameter.grad is None for parameter in tokenizer.parameters())
    names = list(trained.state_dict())
    assert len([name for name in names if name.endswith("conv1.weight")]) == len(
        [name for name in tokenizer.state_dict() if name.endswith("conv1.weight")]
    )


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match="codes=12 and patch=4"):
        objective(CentroidTokenizer(4, 12))
    with pytest.raises(UserError, match="codes=16 and patch=8"):
        objective(CentroidTokenizer(8, 16))
    encoder = BeitPretraining(16, 4, 32, 2, 2, codes=16, early_layers=1, head_layers=1)
    with pytest.raises(UserError, match="second=48"):
        CCViT(encoder, CentroidTokenizer(4, 16))
