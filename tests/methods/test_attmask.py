"""AttMask: the guide is the teacher's, of the same crop, and the mask follows it."""

import torch

from mimgen.data.transforms.views import MultiCrop
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.attmask import AttentionMasking, AttMask
from mimgen.methods.ibot.head import PrototypeHead
from mimgen.types import Batch, SampleRNG

TOKEN = {"mask_token": "replace", "mask_token_std": 0.0}  # masked patches as iBOT shows them


def objective(mode="high", **options):
    torch.manual_seed(0)
    head = PrototypeHead(32, 24, hidden=32, bottleneck=16)
    views = MultiCrop(16, 8, small=0)
    return AttMask(VitEncoder(16, 4, 32, 2, 2, **TOKEN), head, views, AttentionMasking(mode, **options))


def images(count=4):
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_each_crop_is_masked_by_the_teachers_last_attention_of_it():
    made = objective(chance=1.0).train()
    with torch.no_grad():
        for parameter in made.student.parameters():
            parameter.zero_()
    large = torch.stack([images(), images().flip(-1)])
    masked = made.mask(Batch(large.flatten(0, 1), rng=SampleRNG(range(8)))).masked
    counts = set(masked.sum(1).tolist())
    assert len(counts) == 1
    count = counts.pop()
    for row, crop in enumerate(large.flatten(0, 1)):
        maps = made.teacher.module.encoder(crop[None], attention=(1,)).attention[0]
        highest = maps[0, :, 0, 1:].mean(0).topk(count).indices
        assert set(highest.tolist()) == set(masked[row].nonzero()[:, 0].tolist())


def test_a_step_in_every_mode_and_with_nothing_hidden():
    batch = Batch(images(), ("",) * 4, ("",) * 4, SampleRNG.for_rows(0, 0, range(4)))
    for mode in ("high", "low", "hints"):
        losses = objective(mode).train()(batch)
        losses.total.backward()
        assert torch.isfinite(losses.total)
    assert float(objective(chance=0.0, ratio=(0.5, 0.5)).train()(batch).terms["patch"].detach()) == 0
