"""Fine-tuning of whole encoders."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mimgen.encoders import VitEncoder
from mimgen.errors import UserError
from mimgen.probing.finetune import FineTune, _mixed, _set_drop_path, fine_tune
from mimgen.types import Tokens

QUICK = FineTune(epochs=20, batch_size=16, base_lr=0.1, warmup_epochs=1)


def vit(**changes) -> VitEncoder:
    torch.manual_seed(0)
    return VitEncoder(**{"image_size": 8, "patch": 4, "width": 16, "depth": 2, "heads": 2, **changes})


def make_images(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """A bright square left or right; labels 3 and 7."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 3, 8, 8, generator=generator) * 0.3
    right = torch.arange(n) % 2
    for image, side in zip(images, right.tolist()):
        image[:, 2:6, 4 * side : 4 * side + 4] += 0.6
    return images, 3 + 4 * right


def test_learns_what_a_head_alone_cannot_read_and_leaves_the_encoder_alone():
    encoder = vit()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    result = fine_tune(encoder, *make_images(128, 0), *make_images(64, 1), seed=0, settings=QUICK)
    assert result.accuracy > 0.95 and result.majority == 0.5
    assert (result.n, result.test_n, result.classes, result.features) == (128, 64, 2, 16)
    losses = result.details["losses"]
    assert result.details["steps"] == 160 and len(losses) == 20
    assert losses[0] > 2 * losses[-1]
    assert result.details["trained"] == sum(part.numel() for part in encoder.parameters()) + 2 * 16 + 16 * 2 + 2
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_the_same_seed_gives_the_same_run_and_the_outer_stream_is_left_alone():
    settings = FineTune(epochs=2, batch_size=16, mixup=0.8, label_smoothing=0.1, drop_path=0.5, clip=1.0)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    runs = [
        fine_tune(vit(), *make_images(32, 0), *make_images(8, 1), seed=seed, settings=settings)
        for seed in (1, 1, 2)
    ]
    torch.manual_seed(5)
    fine_tune(encoder := vit(), *make_images(32, 0), *make_images(8, 1), seed=1, settings=settings)
    state = torch.random.get_rng_state()
    fine_tune(encoder, *make_images(32, 0), *make_images(8, 1), seed=2, settings=settings)
    assert torch.equal(state, torch.random.get_rng_state())
    assert runs[0] == runs[1] and runs[0].details["losses"] != runs[2].details["losses"]
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), expected)


def test_first_loss_is_that_of_guessing():
    settings = FineTune(epochs=1, batch_size=64, base_lr=1e-9)
    result = fine_tune(vit(), *make_images(64, 0), *make_images(8, 1), seed=0, settings=settings)
    assert result.details["losses"][0] == pytest.approx(torch.log(torch.tensor(2.0)).item(), abs=1e-3)


def test_mixup_mixes_images_and_labels_alike():
    batch, targets = torch.rand(4, 3, 2, 2), torch.eye(4)
    mixed, shares = _mixed(batch, targets, 0.75)
    assert torch.allclose(mixed[0], 0.75 * batch[0] + 0.25 * batch[3])
    assert torch.allclose(shares[0], torch.tensor([0.75, 0, 0, 0.25]))


def test_drop_path_rises_to_the_last_block():
    encoder = vit(depth=3)
    _set_drop_path(encoder, 0.4)
    assert [block.drop_path.rate for block in encoder.blocks] == pytest.approx([0.0, 0.2, 0.4])


def test_the_mae_protocol():
    table = FineTune.mae(epochs=50)
    assert (table.epochs, table.base_lr, table.layer_decay, table.drop_path) == (50, 5e-4, 0.65, 0.1)


class _Frozen(VitEncoder):
    @torch.no_grad()
    def forward(self, images: Tensor) -> Tokens:
        return super().forward(images)


def test_mistakes_name_the_fix():
    train, test = make_images(16, 0), make_images(8, 1)
    settings = FineTune(epochs=1)
    frozen = _Frozen(image_size=8, patch=4, width=16, depth=2, heads=2)
    bare = vit(class_token=False, pool="mean")
    labels = train[1].clone()
    labels[3] = -1
    with pytest.raises(UserError, match="without gradient"):
        fine_tune(frozen, *train, *test, seed=0, settings=settings)
    with pytest.raises(UserError, match="single class"):
        fine_tune(vit(), train[0], torch.zeros(16, dtype=torch.int64), *test, seed=0, settings=settings)
    with pytest.raises(UserError, match="1 of 16 train images have no label"):
        fine_tune(vit(), train[0], labels, *test, seed=0, settings=settings)
    with pytest.raises(UserError, match='pool="mean"'):
        fine_tune(bare, *train, *test, seed=0, settings=FineTune(epochs=1, pool="prefix"))
    with pytest.raises(UserError, match="hold NaN"):
        fine_tune(vit(), train[0] * torch.nan, train[1], *test, seed=0, settings=settings)
