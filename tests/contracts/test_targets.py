"""One contract for every target: what it says of a patch gives no gradient, its distance does, errors are clear."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mimgen.encoders import VitEncoder
from mimgen.errors import UserError
from mimgen.methods.dmjd.target import WhitenedHog
from mimgen.methods.hiendmae.target import VolumeTarget
from mimgen.methods.itpn.target import StandardisedFeatures
from mimgen.methods.localmim.target import SobelTarget
from mimgen.ops.discover import classes_below
from mimgen.targets import CodeTarget, FeatureTarget, HogTarget, PixelTarget, Target
from mimgen.tokenizers import CentroidTokenizer
from mimgen.types import Mask


def teacher() -> VitEncoder:
    return VitEncoder(16, 4, 16, 2, 2)


def tokenizer() -> CentroidTokenizer:
    made = CentroidTokenizer(4, 32)
    with torch.no_grad():
        for tensor in made.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_()
    return made


@dataclass(frozen=True)
class Entry:
    """How the contract is asked of one target.

    Attributes:
        build: one for patches of 4 pixels.
        sides: of what it is shown.
        channels: of what it is shown.
        frozen: name of the network inside that must not learn.
    """

    build: Callable[[], Any]
    sides: tuple[int, ...] = (16, 24)
    channels: int = 3
    frozen: str | None = None


TARGETS: dict[str, Entry] = {
    "CodeTarget": Entry(lambda: CodeTarget(tokenizer()), frozen="coder"),
    "FeatureTarget": Entry(lambda: FeatureTarget(teacher()), frozen="teacher"),
    "HogTarget": Entry(lambda: HogTarget(4)),
    "PixelTarget": Entry(lambda: PixelTarget(4, mean=(0.5,) * 5, std=(0.2,) * 5), channels=5),
    "SobelTarget": Entry(lambda: SobelTarget(4)),
    "StandardisedFeatures": Entry(lambda: StandardisedFeatures(teacher()), frozen="teacher"),
    "VolumeTarget": Entry(lambda: VolumeTarget((4, 4, 2)), (8, 8, 4), channels=1),
    "WhitenedHog": Entry(lambda: WhitenedHog(4)),
}


@dataclass(frozen=True)
class Made:
    target: Any
    entry: Entry
    images: Tensor

    @property
    def count(self) -> int:
        cell = getattr(self.target, "cell", 4) if len(self.entry.sides) == 3 else 4
        parts = cell if isinstance(cell, tuple) else (cell,) * len(self.entry.sides)
        return int(torch.tensor([side // part for side, part in zip(self.entry.sides, parts)]).prod())

    def goal(self) -> Tensor:
        return self.target(self.images)

    def predicted(self, goal: Tensor) -> Tensor:
        """What a head might say of every patch, [B N, dim]."""
        return torch.randn(goal.shape[0] * goal.shape[1], self.target.dim, generator=torch.Generator().manual_seed(4))


@pytest.fixture(params=TARGETS, scope="module")
def made(request: pytest.FixtureRequest) -> Made:
    entry = TARGETS[request.param]
    torch.manual_seed(0)
    return Made(entry.build(), entry, torch.rand(3, entry.channels, *entry.sides))


def test_every_target_is_held_to_the_contract() -> None:
    def is_target(kind: type) -> bool:
        called = {"forward", "__call__"} & set(vars(kind)) != set()
        return issubclass(kind, nn.Module) and called and "loss" in vars(kind)

    classes = set(classes_below("mimgen.targets", "mimgen.methods", wanted=is_target))
    missing, gone = sorted(classes - set(TARGETS)), sorted(set(TARGETS) - classes)
    assert not missing, f"add an entry to TARGETS in tests/contracts/test_targets.py: {missing}"
    assert not gone, f"no longer defined: {gone}: take them out of TARGETS here"


def test_is_a_target(made: Made) -> None:
    assert isinstance(made.target, Target) and isinstance(made.target, nn.Module)
    assert made.target.patch == 4 and made.target.dim > 0


def test_one_goal_a_patch_without_gradient(made: Made) -> None:
    goal = made.target(made.images.clone().requires_grad_())
    assert not goal.requires_grad
    if goal.is_floating_point():
        assert goal.shape == (3, made.count, made.target.dim) and goal.dtype == torch.float32
        assert goal.isfinite().all()
    else:
        assert goal.shape == (3, made.count) and goal.dtype == torch.int64
        assert 0 <= int(goal.min()) <= int(goal.max()) < made.target.dim
    assert not torch.equal(goal[0], goal[1]), "two images of noise have the same goal"


def test_nothing_of_it_learns(made: Made) -> None:
    assert not [name for name, parameter in made.target.named_parameters() if parameter.requires_grad]
    if made.entry.frozen is not None:
        made.target.train()
        assert not getattr(made.target, made.entry.frozen).training, "a frozen network stays in evaluation mode"


def test_the_goal_is_of_the_intact_image(made: Made) -> None:
    before = made.images.clone()
    masked = torch.zeros(3, made.count, dtype=torch.bool)
    masked[:, ::2] = True
    assert torch.equal(made.target(made.images, Mask(masked)), made.goal())
    assert torch.equal(made.images, before)


def test_an_image_alone_has_the_same_goal(made: Made) -> None:
    assert torch.allclose(made.target(made.images[1:2]).float(), made.goal()[1:2].float(), atol=1e-5)


def test_one_distance_a_patch_with_gradient(made: Made) -> None:
    goal = made.goal()
    predicted = made.predicted(goal).requires_grad_()
    distance = made.target.loss(predicted, goal.flatten(0, 1))
    assert distance.shape == (len(predicted),) and distance.dtype == torch.float32
    assert distance.isfinite().all() and (distance >= 0).all() and distance.sum() > 0
    distance.sum().backward()
    assert predicted.grad is not None and predicted.grad.isfinite().all()
    # every patch is evaluated by itself
    some = made.target.loss(predicted[5:9], goal.flatten(0, 1)[5:9])
    assert torch.allclose(some, distance[5:9], atol=1e-6)


def test_the_goal_itself_is_nearest(made: Made) -> None:
    goal = made.goal().flatten(0, 1)
    best = goal if goal.is_floating_point() else 100.0 * torch.nn.functional.one_hot(goal, made.target.dim)
    at_goal = made.target.loss(best, goal)
    # flat patches have no direction to compare
    described = goal.float().norm(dim=-1) > 1e-6 if goal.is_floating_point() else torch.ones(len(goal)) > 0
    assert float(at_goal[described].max()) < 1e-5 < float(made.target.loss(made.predicted(made.goal()), goal).min())


def test_half_precision_is_judged_in_full(made: Made) -> None:
    goal = made.goal().flatten(0, 1)
    predicted = made.predicted(made.goal()).half()
    assert torch.equal(made.target.loss(predicted, goal), made.target.loss(predicted.float(), goal))


def test_sides_that_do_not_divide(made: Made) -> None:
    with pytest.raises(UserError, match=r"do(es)? not divide into .*: (resize|crop)"):
        made.target(torch.nn.functional.pad(made.images, (0, 1)))


def test_a_mistaken_number_of_channels(made: Made) -> None:
    images = torch.cat([made.images, made.images[:, :1]], dim=1)
    with pytest.raises(UserError, match=r"convert|give|build"):
        made.target(images)
