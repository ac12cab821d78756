"""iBOT: who sees what, what counts in the loss, how centres and teacher move, and that it does not collapse."""

import dataclasses
import math

import pytest
import torch

from mimgen.data.transforms.views import MultiCrop, Views
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.methods.ibot.head import PrototypeHead
from mimgen.methods.ibot.masking import VariedBlock
from mimgen.methods.ibot.objective import IBOT, mean_over_masked
from mimgen.methods.ibot.prototypes import Temperature
from mimgen.methods.moving_average import Momentum
from mimgen.types import Batch, Mask, SampleRNG

TOKEN = {"mask_token": "replace", "mask_token_std": 0.0}  # masked patches as iBOT shows them


def make_images(count=8):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 4, 4, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)


def batch(step=0, count=8):
    return Batch(make_images(count), ("",) * count, ("",) * count, SampleRNG.for_rows(0, step, range(count)))


def objective(small=1, own=None, **options):
    torch.manual_seed(0)
    head = PrototypeHead(32, 24, own, hidden=32, bottleneck=16)
    views = MultiCrop(16, 8, small=small)
    made = IBOT(VitEncoder(16, 4, 32, 2, 2, **TOKEN), head, views, VariedBlock(), **options)
    with torch.no_grad():
        made.student.encoder.mask_token.normal_()
    return made


def hide(*patches, rows=2):
    masked = torch.zeros(rows, 16, dtype=torch.bool)
    masked[:, list(patches)] = True
    return Mask(masked)


def views_of(images, small=True):
    return Views(torch.stack([images, images.flip(-1)]), images[None, :, :, :8, :8] if small else images[:0, None])


def forward(module, views, mask):
    """The losses of chosen views and masks."""
    module.views, module.masking = lambda images, rng: views, lambda grid, rng: mask
    return module(Batch(views.large[0]))


def test_pixels_under_the_mask_reach_the_teacher_alone():
    module, images = objective().eval(), make_images(2)
    other = images.clone()
    other[:, :, :4, :4] = 1 - other[:, :, :4, :4]
    mask = hide(0)
    before, after = (module.student(shown, mask) for shown in (images, other))
    assert torch.equal(before.patches, after.patches) and torch.equal(before.classes, after.classes)
    teacher_output, again = (module.teacher(shown) for shown in (images, other))
    assert not torch.equal(teacher_output.patches, again.patches)
    assert not torch.equal(before.patches, module.student(images).patches)


def test_a_crop_without_masked_patches_counts_as_zero():
    module, images = objective().eval(), make_images(2)
    views, whole = views_of(images), hide(rows=4)
    losses = forward(module, views, whole)
    losses.total.backward()
    assert float(losses.terms["patch"].detach()) == 0 and math.isfinite(float(losses.total.detach()))
    half = Mask(whole.masked.clone())
    half.masked[0, :3] = True
    some = forward(module, views, half).terms["patch"]
    torch.testing.assert_close(mean_over_masked(torch.tensor([1.0, 2.0, 6.0]), half.masked), torch.tensor(3 / 4))
    assert float(some.detach()) > 0


def test_both_terms_as_written_down():
    """Equations 2 and 3 with loops."""
    module = objective(own=20, patch_temperature=Temperature(0.07, 0.07)).eval()
    module.class_centre.value.normal_(generator=torch.Generator().manual_seed(3))
    module.patch_centre.value.normal_(generator=torch.Generator().manual_seed(4))
    images = make_images(3)
    views = views_of(images)
    mask = Mask(torch.rand(6, 16, generator=torch.Generator().manual_seed(5)) < 0.4)
    terms = forward(module, views, mask).terms
    student, teacher = module.student, module.teacher.module
    seen = [student(views.large[0], Mask(mask.masked[:3])), student(views.large[1], Mask(mask.masked[3:]))]
    logs = [(student.head.classes(s.classes) / 0.1).log_softmax(-1) for s in [*seen, student(views.small[0])]]
    teacher_output = [teacher(crop) for crop in views.large]
    goals = [((teacher.head.classes(t.classes) - module.class_centre.value) / 0.04).softmax(-1) for t in teacher_output]
    pairs = [-(goals[q] * logs[v]).sum(-1).mean() for q in range(2) for v in range(3) if q != v]
    torch.testing.assert_close(terms["class"], torch.stack(pairs).mean())
    patch = []
    for crop in range(2):
        goal = ((teacher.head.patches(teacher_output[crop].patches) - module.patch_centre.value) / 0.07).softmax(-1)
        distance = -(goal * (student.head.patches(seen[crop].patches) / 0.1).log_softmax(-1)).sum(-1)
        weight = mask.masked[3 * crop : 3 * crop + 3].float()
        patch.append(((distance * weight).sum(1) / weight.sum(1).clamp(min=1)).mean())
    torch.testing.assert_close(terms["patch"], torch.stack(patch).mean())


def test_centres_move_after_the_loss_by_a_tenth_of_the_mean():
    trained, images = objective().train(), make_images(2)
    views, mask = views_of(images), hide(1, 2, rows=4)
    trained.class_centre.value.fill_(1)
    teacher_output = trained.teacher(views.large.flatten(0, 1))
    first = forward(trained, views, mask).terms["class"]
    head = trained.teacher.module.head
    torch.testing.assert_close(trained.class_centre.value, 0.9 + 0.1 * head.classes(teacher_output.classes).mean(0))
    torch.testing.assert_close(trained.patch_centre.value, 0.1 * head.patches(teacher_output.patches).mean((0, 1)))
    assert not torch.equal(first, forward(trained, views, mask).terms["class"])
    kept = trained.eval().class_centre.value.clone()
    forward(trained, views, mask)
    assert torch.equal(trained.class_centre.value, kept)


def test_the_teacher_moves_by_its_share_and_has_no_gradient():
    trained = objective(momentum=Momentum(0.9, 0.9)).train()
    before = [parameter.clone() for parameter in trained.teacher.parameters()]
    trained(batch()).total.backward()
    assert all(parameter.grad is None for parameter in trained.teacher.parameters())
    with torch.no_grad():
        for parameter in trained.student.parameters():
            parameter.add_(1)
    trained.after_step(1)
    for old, now, student in zip(before, trained.teacher.parameters(), trained.student.parameters(), strict=True):
        torch.testing.assert_close(now, old + 0.1 * (student - old))
    assert not trained.teacher.training and trained.encoder is trained.teacher.module.encoder


def test_prototypes_wait_while_they_are_frozen():
    trained = objective(freeze=2).train()
    prototypes = trained.student.head.last_layer.weight_v
    for step, moves in ((1, False), (2, False), (3, True)):
        trained.zero_grad(set_to_none=True)
        trained(dataclasses.replace(batch(step), step=step)).total.backward()
        assert (prototypes.grad is not None) == moves
        assert trained.student.head.mlp[0].weight.grad is not None


def train(momentum):
    """Metrics after 40 steps on plain colours."""
    torch.manual_seed(0)
    head, views = PrototypeHead(32, 24, hidden=32, bottleneck=16), MultiCrop(8, 4, small=0, colours=())
    options = {"momentum": Momentum(0.99, 0.99), "centre_momentum": (momentum, momentum)}
    trained = IBOT(VitEncoder(8, 4, 32, 1, 2, **TOKEN), head, views, VariedBlock(), **options).train()
    optimiser = torch.optim.AdamW((p for p in trained.parameters() if p.requires_grad), 1e-3)
    colours = torch.rand(16, 3, 1, 1, generator=torch.Generator().manual_seed(0)).expand(-1, -1, 8, 8)
    for step in range(1, 41):
        losses = trained(Batch(colours, ("",) * 16, ("",) * 16, SampleRNG.for_rows(0, step, range(16))))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        trained.after_step(step)
    return {name: float(value) for name, value in losses.metrics.items()}


def test_without_centres_it_collapses():
    centred, not_centred = train(0.9), train(1.0)
    assert centred["marginal_entropy"] > 0.5 and centred["marginal_entropy"] - centred["teacher_entropy"] > 0.03
    assert not_centred["marginal_entropy"] < 0.2


def test_weights_and_no_small_crops():
    trained = objective(small=0, class_weight=0.0).train()
    losses = trained(batch())
    torch.testing.assert_close(losses.total, losses.terms["patch"])
    assert len(trained.clip_groups()) == sum(p.requires_grad for p in trained.student.parameters())


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match="width=32"):
        IBOT(VitEncoder(16, 4, 32, 1, 2, **TOKEN), PrototypeHead(16, 8), MultiCrop(16, 8), VariedBlock())
    with pytest.raises(UserError, match="crops of 6 pixels"):
        IBOT(VitEncoder(16, 4, 32, 1, 2, **TOKEN), PrototypeHead(32, 8), MultiCrop(16, 6), VariedBlock())
