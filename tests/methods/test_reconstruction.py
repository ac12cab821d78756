import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from mimgen.methods.reconstruction import Reconstruction
from mimgen.tokenizers.discriminators import Discriminator, PatchDiscriminator
from mimgen.tokenizers.quantizers import FiniteScalarQuantizer, LookupFreeQuantizer, VectorQuantizer
from mimgen.types import Batch, SampleRNG


class TinyTokenizer(nn.Module):
    def __init__(self, quantizer):
        super().__init__()
        self.encoder = nn.Conv2d(3, quantizer.dim, 4, 4)
        self.quantizer = quantizer
        self.decoder = nn.ConvTranspose2d(quantizer.dim, 3, 4, 4)
        self.codebook_size = quantizer.codebook_size

    @property
    def last_layer(self):
        return self.decoder.weight

    def forward(self, images):
        codes = self.quantizer(self.encoder(images))
        return self.decoder(codes.latents), codes


def batch(seed=0):
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return Batch(images, ("",) * 4, ("",) * 4, SampleRNG(range(4)))


def objective(discriminator=True, **options):
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(8, 2) if discriminator else None
    return Reconstruction(TinyTokenizer(VectorQuantizer(6, 16)), discriminator, **options)


def gradients(module):
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def test_terms_and_metrics():
    losses = objective(l2=0.5, lecam=0.1)(batch())
    assert set(losses.terms) == {"l1", "l2", "commitment", "adversarial", "discriminator", "lecam"}
    assert losses.weights["l2"] == 0.5
    assert {"psnr", "perplexity", "active_codes", "dead_codes", "adaptive_weight"} <= set(losses.metrics)
    assert not any(metric.requires_grad for metric in losses.metrics.values())


def test_one_backward_trains_both_each_by_its_own_terms():
    both = objective(adaptive=False)
    alone = copy.deepcopy(both)
    both(batch()).total.backward()
    losses = alone(batch())
    losses.terms["discriminator"].backward(retain_graph=True)
    expected = gradients(alone.discriminator)
    assert not gradients(alone.tokenizer), "the discriminator's term must not reach the tokenizer"
    for name, gradient in gradients(both.discriminator).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)
    alone.zero_grad()
    (losses.terms["l1"] + losses.terms["commitment"] + 0.1 * losses.terms["adversarial"]).backward()
    assert not gradients(alone.discriminator), "the generator's terms must not reach the discriminator"
    expected = gradients(alone.tokenizer)
    for name, gradient in gradients(both.tokenizer).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)


def test_running_statistics_move_for_real_and_fake_only():
    trained = objective()
    trained(batch())
    assert int(trained.discriminator.main[3].num_batches_tracked) == 2


def test_warm_up():
    waiting = objective(adversarial_start=10, discriminator_start=5)
    assert not {"adversarial", "discriminator"} & set(waiting(batch()).terms)
    terms = waiting(replace(batch(), step=6)).terms
    assert "discriminator" in terms
    assert "adversarial" not in terms
    assert "adversarial" in waiting(replace(batch(), step=11)).terms


def test_adaptive_weight_gives_the_gradient_norm_of_the_fidelity_term():
    trained = objective(adversarial_weight=1.0)
    losses = trained(batch())
    last = trained.tokenizer.last_layer
    fidelity, adversarial = (
        torch.autograd.grad(losses.terms[name], last, retain_graph=True)[0].norm()
        for name in ("l1", "adversarial")
    )
    torch.testing.assert_close(losses.weights["adversarial"] * adversarial, fidelity, rtol=0.05, atol=0)


def test_entropy_boost_decays():
    torch.manual_seed(0)
    trained = Reconstruction(TinyTokenizer(LookupFreeQuantizer(6)), entropy_boost=3.0)
    assert trained(batch()).weights["entropy"] == 4.0
    assert trained(replace(batch(), step=2001)).weights["entropy"] == 1.0


def test_evaluation_without_gradients_judges_nothing_and_changes_nothing():
    trained = objective()
    trained(batch())
    trained.eval()
    before = copy.deepcopy(trained.state_dict())
    with torch.no_grad():
        losses = trained(batch(1))
    assert set(losses.terms) == {"l1"}
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_clip_groups_share_out_every_parameter():
    trained = objective()
    groups = trained.clip_groups()
    assert sum(map(len, groups)) == len(list(trained.parameters()))
    assert len(objective(discriminator=False).clip_groups()) == 1


def test_training_reconstructs():
    trained = objective(adversarial_start=1000, discriminator_start=1000)
    optimizer = torch.optim.Adam(trained.parameters(), 1e-2)
    seen = []
    for _ in range(30):
        losses = trained(batch())
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        seen.append(float(losses.metrics["psnr"]))
    assert seen[-1] > seen[0] + 2


def test_no_fidelity_term_is_refused():
    with pytest.raises(ValueError, match="fidelity"):
        objective(l1=0.0)


def parts_of(whole, count):
    """A batch cut into micro-batches."""
    size = len(whole) // count
    return [
        Batch(whole.images[row : row + size], ("",) * size, ("",) * size, SampleRNG(whole.rng.seeds[row : row + size]))
        for row in range(0, len(whole), size)
    ]


def accumulated(trained, batches):
    trained.zero_grad()
    for part in batches:
        (trained(part).total / len(batches)).backward()
    return {name: gradient.clone() for name, gradient in gradients(trained).items()}


def opponents(**options):
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(8, 2, norm="group")
    return Reconstruction(
        TinyTokenizer(FiniteScalarQuantizer((5, 5, 5))), discriminator, adversarial_weight=0.5, **options
    )


@pytest.mark.parametrize("kind", ["hinge", "vanilla", "non_saturate"])
def test_accumulation_changes_nothing(kind):
    trained = opponents(adaptive=False, adversarial=kind, discrimination=kind)
    at_once = accumulated(trained, [batch()])
    in_parts = accumulated(trained, parts_of(batch(), 4))
    assert at_once.keys() == in_parts.keys()
    assert any(name.startswith("discriminator.") for name in at_once)
    for name, gradient in at_once.items():
        assert gradient.isfinite().all()
        torch.testing.assert_close(in_parts[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_adaptive_weight_and_lecam_stay_finite_under_accumulation():
    trained = opponents(lecam=0.1)
    for step in range(5):
        found = accumulated(trained, parts_of(batch(step), 4))
        assert all(gradient.isfinite().all() for gradient in found.values())
        with torch.no_grad():
            for name, parameter in trained.named_parameters():
                parameter.sub_(0.01 * found[name])
    at_once, in_parts = accumulated(trained, [batch()]), accumulated(trained, parts_of(batch(), 4))
    # each micro-batch weighs its own adversarial term, so only the direction is the same
    for name in ("tokenizer.decoder.weight", "discriminator.main.0.weight"):
        assert torch.cosine_similarity(at_once[name].flatten(), in_parts[name].flatten(), dim=0) > 0.98


def test_moving_means_of_lecam_are_saved():
    trained = opponents(lecam=0.1)
    trained(batch())
    assert trained.state_dict()["lecam.ema"].abs().sum() > 0
    again = opponents(lecam=0.1)
    again.load_state_dict(trained.state_dict())
    torch.testing.assert_close(again(batch(1)).total, trained(batch(1)).total, rtol=0, atol=0)


def test_a_discriminator_chooses_what_it_is_shown():
    class Corner(Discriminator):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))
            self.seen = []

        def view(self, images, rng):
            assert len(rng) == len(images)
            return images[..., :8, :8]

        def forward(self, images):
            self.seen.append(tuple(images.shape))
            return self.scale * images.mean((1, 2, 3))

    torch.manual_seed(0)
    discriminator = Corner()
    Reconstruction(TinyTokenizer(VectorQuantizer(6, 16)), discriminator)(batch())
    assert discriminator.seen == [(4, 3, 8, 8)] * 3
