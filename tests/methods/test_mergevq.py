"""Training MergeVQ: terms, gradients, keep counts, alignment."""

import dataclasses
from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from configs.tokenizer.mergevq import SIZES, VARIANTS, experiment
from mimgen.encoders.teachers import Teacher
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.methods.alignment import distillation_loss, label_loss
from mimgen.methods.mergevq import MergeVQTraining
from mimgen.tokenizers.discriminators import PatchDiscriminator
from mimgen.tokenizers.mergevq import MergeVQ
from mimgen.types import Batch, SampleRNG


def tokenizer(**options):
    torch.manual_seed(0)
    small = {
        "resolution": 16, "channels": 16, "multipliers": (1, 1), "blocks": (0, 1), "bits": 6, "layers": 2,
        "heads": 2, "keep": 25, "candidates": "gaussian-3", "head": "layer2", "rep_dim": 8,
        "recovery_layers": 1, "recovery_width": 16, "recovery_heads": 2,
    }  # fmt: skip
    return MergeVQ(**(small | options))


def teacher():
    torch.manual_seed(1)
    return Teacher(VitEncoder(image_size=16, patch=4, width=8, depth=1, heads=2))


def batch(seed=0):
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return Batch(images, ("",) * 4, ("",) * 4, SampleRNG(range(4)), labels={"group": torch.tensor([0, 1, 2, 1])})


def objective(alignment="kl", **options):
    guide = teacher() if alignment in ("kl", "mse") else None
    discriminator = options.pop("discriminator", None)
    return MergeVQTraining(tokenizer(), discriminator, teacher=guide, alignment=alignment, **options)


@pytest.mark.parametrize("crop", [None, (0.08, 1.0)])
@pytest.mark.parametrize("alignment", ["kl", "mse", "ce"])
def test_every_trainable_parameter_is_reached(alignment, crop):
    torch.manual_seed(0)
    training = objective(alignment, crop=crop, discriminator=PatchDiscriminator(8, 1, norm="group"))
    for name, parameter in training.named_parameters():
        if "gamma" in name:  # 1e-5 at the start, which leaves the branches' gradients below notice
            nn.init.ones_(parameter)
    losses = training(batch())
    assert {"l1", "recovery", "alignment", "entropy", "commitment", "adversarial"} <= set(losses.terms)
    losses.total.backward()
    lost = [
        name
        for name, parameter in training.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not bool(parameter.grad.abs().sum() > 0))
    ]
    # the hinge of as many real as fake logits does not move their common level at the start
    assert [name for name in lost if not name.startswith("reconstruction.discriminator")] == []
    assert all(p.grad is not None for p in training.discriminator.parameters())
    assert all(torch.isfinite(p.grad).all() for p in training.parameters() if p.grad is not None)


def test_the_teacher_is_not_trained():
    assert not any(parameter.requires_grad for parameter in objective().teacher.parameters())


def test_the_total_is_the_sum_of_weighted_terms():
    losses = objective("mse", recovery_weight=0.5, alignment_weight=0.1)(batch())
    assert losses.weights["recovery"] == 0.5
    assert losses.weights["alignment"] == 0.1
    expected = sum(losses.weights.get(name, 1.0) * term for name, term in losses.terms.items())
    assert_close(losses.total, expected)


def test_recovery_does_not_shape_the_codes():
    training = objective(alignment="ce")
    training(batch()).terms["recovery"].backward()
    reached = {name.split(".")[2] for name, p in training.named_parameters() if p.grad is not None}
    assert reached == {"recovery"}


def sampled(training, steps):
    return Counter(training.keep_at(step) for step in range(steps))


def test_keep_counts_follow_their_law_and_the_seed_alone():
    training = objective()
    schedule = training.tokenizer.schedule
    counts = sampled(training, 3000)
    below = 0.0
    for count, until in zip(schedule.counts, schedule.cumulative, strict=True):
        assert counts[count] / 3000 == pytest.approx(until - below, abs=0.03)
        below = until
    again, other = objective(), objective(seed=1)
    assert [again.keep_at(step) for step in range(50)] == [training.keep_at(step) for step in range(50)]
    assert [other.keep_at(step) for step in range(50)] != [training.keep_at(step) for step in range(50)]


def test_the_released_sweep_repeats_after_a_hundred_steps():
    training = objective(sweep=True)
    kept = [training.keep_at(step) for step in range(200)]
    assert kept[:100] == kept[100:]
    assert kept[:100] == sorted(kept[:100])


def test_a_step_keeps_what_was_drawn_and_evaluation_keeps_the_middle():
    training = objective()
    for step in range(6):
        assert int(training(replace(batch(), step=step + 1)).metrics["keep"]) == training.keep_at(step)
    training.eval()
    with torch.no_grad():
        assert int(training(batch()).metrics["keep"]) == training.tokenizer.keep


def test_other_images_in_the_batch_do_not_change_the_keep_count():
    """Processes hold different rows, and must merge to equally many tokens."""
    training = objective()
    whole, other = (training(replace(batch(seed), step=4)).metrics["keep"] for seed in (0, 7))
    assert int(whole) == int(other)


def test_one_model_serves_several_keep_counts():
    model = tokenizer().eval()
    for keep in (16, 25, 36, 64):
        codes = model.encode(batch().images, keep)
        assert codes.source.shape == (4, keep, 64)
        assert model.decode(codes).shape == (4, 3, 16, 16)


def test_training_learns():
    torch.manual_seed(0)
    training = objective("ce", crop=None)
    optimizer = torch.optim.Adam(training.parameters(), 5e-3)
    seen = []
    for step in range(40):
        losses = training(replace(batch(), step=step + 1))
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        seen.append({name: float(term.detach()) for name, term in losses.terms.items()})
    assert seen[-1]["alignment"] < seen[0]["alignment"] - 0.1
    assert seen[-1]["recovery"] < seen[0]["recovery"]
    assert seen[-1]["l1"] < 0.9 * seen[0]["l1"]


def test_distances():
    student, guide = torch.randn(3, 5), torch.randn(3, 5)
    p, q = F.softmax(guide / 4, 1), F.softmax(student / 4, 1)
    assert_close(distillation_loss("kl", student, guide), 16 * (p * (p / q).log()).sum(1).mean())
    assert_close(distillation_loss("kl", guide, guide), torch.zeros(()), atol=1e-6, rtol=0)
    assert_close(distillation_loss("mse", student, guide), -F.cosine_similarity(student, guide).mean() / 5)
    wanted = 0.9 * F.one_hot(torch.tensor([0, 1, 4]), 5) + 0.1 / 5
    assert_close(label_loss(student, torch.tensor([0, 1, 4])), -(wanted * student.log_softmax(1)).sum(1).mean())


def test_alignment_that_cannot_be_is_refused():
    with pytest.raises(UserError, match="needs a teacher"):
        MergeVQTraining(tokenizer(), alignment="kl")
    with pytest.raises(UserError, match="rep_dim=8"):
        MergeVQTraining(tokenizer(rep_dim=5), alignment="kl", teacher=teacher())
    with pytest.raises(UserError, match="needs a head"):
        MergeVQTraining(tokenizer(head=None), alignment="ce")
    with pytest.raises(UserError, match="nothing trains the head"):
        MergeVQTraining(tokenizer())
    with pytest.raises(UserError, match='label set "class"'):
        objective("ce", label="class")(batch())
    with pytest.raises(UserError, match="rep_dim=10 or more"):
        objective("ce")(dataclasses.replace(batch(), labels={"group": torch.tensor([0, 1, 9, 1])}))


@pytest.mark.parametrize("variant", VARIANTS)
def test_config_builds_every_variant(variant):
    training = experiment(size="tiny", variant=variant, align="ce").build()
    sized = Batch(batch().images, ("",) * 4, ("",) * 4, SampleRNG(range(4)), batch().labels)
    losses = training(sized)
    assert torch.isfinite(losses.total)
    assert losses.weights["alignment"] == VARIANTS[variant].alignment


@pytest.mark.parametrize("variant", VARIANTS)
def test_keep_counts_of_emoji64_are_possible(variant):
    training = experiment(size="emoji64", variant=variant).build()
    assert training.tokenizer.schedule.counts[0] >= 16
    assert len(training.tokenizer.schedule.counts) == SIZES["emoji64"].variants[variant].counts


def test_config_refuses_unknown_variants_and_labels():
    with pytest.raises(UserError, match=r"G, G\+R, R"):
        experiment(size="tiny", variant="X")
    with pytest.raises(UserError, match="subgroup"):
        experiment(size="tiny", align="ce", label="colour").build()
