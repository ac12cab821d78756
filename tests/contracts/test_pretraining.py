"""One contract for every config in configs/pretrain, at size tiny: a step trains what it should and nothing else."""

import copy
import functools
import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mimgen import configs
from mimgen.data import Dataset
from mimgen.data.loader import collate
from mimgen.encoders import VitEncoder
from mimgen.errors import UserError
from mimgen.methods.moving_average import MovingAverage
from mimgen.probing.open import open_encoder
from mimgen.recipes import Pretrain
from mimgen.tokenizers import CentroidTokenizer
from mimgen.types import Batch, Losses, SampleRNG

FOLDER = Path(__file__).parents[2] / "configs" / "pretrain"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.name != "__init__.py")
ROWS = 4


@functools.cache
def loaded(kind: type, spec: str, size: int) -> Any:
    """The data of a run; most runs share theirs."""
    return kind(spec, size).open()


def batch_of(run: Pretrain) -> Batch:
    """A batch with fresh streams: using it up does not change the next one."""
    dataset: Dataset = loaded(type(run.data_config), run.data_config.spec, run.data_config.size)
    return collate([dataset[index] for index in range(ROWS)], SampleRNG.for_rows(0, 0, range(ROWS)))


@functools.cache
def some_codes() -> CentroidTokenizer:
    torch.manual_seed(3)
    made = CentroidTokenizer(4, 32)
    for tensor in made.buffers():
        if tensor.is_floating_point():
            tensor.uniform_()
    return made


@pytest.fixture(autouse=True, scope="module")
def _codes_are_not_fitted() -> Iterator[None]:
    """Tokenizers that configs fit to their images are random here: fitting them takes longer than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            module = importlib.import_module(configs.names()[name])
            if hasattr(module, "fit_centroids"):
                patch.setattr(module, "fit_centroids", lambda *_, **__: copy.deepcopy(some_codes()))
        yield


def experiment(name: str, **options: Any) -> Pretrain:
    return configs.experiment(name)(size="tiny", **options)  # type: ignore[return-value]


def built(run: Pretrain, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return run.build()


def first_losses(name: str, **options: Any) -> Losses:
    run = experiment(name, **options)
    return built(run)(batch_of(run))


def teachers(objective: nn.Module) -> list[MovingAverage]:
    return [module for module in objective.modules() if isinstance(module, MovingAverage)]


def copied(tensors: Any) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


@dataclass(frozen=True)
class Trained:
    """An objective after one step, and what was seen on the way.

    Attributes:
        run: of the config.
        objective: as the step left it.
        losses: of the step.
        student: the encoder that the optimiser moves; what is kept may be the teacher's.
        gradients: of its parameters over two steps, None where there was none.
        chance_used: numbers were sampled outside of the batch's streams.
        before: parameters of each teacher before the step.
        between: the same after the optimiser, before `after_step`.
    """

    run: Pretrain
    objective: Any
    losses: Losses
    student: nn.Module
    gradients: dict[str, Tensor | None]
    chance_used: bool
    before: list[list[Tensor]]
    between: list[list[Tensor]]


@pytest.fixture(params=NAMES, scope="module")
def trained(request: pytest.FixtureRequest) -> Trained:
    run = experiment(request.param)
    objective = built(run).train()
    student = getattr(objective, "student", objective).encoder
    before = [copied(teacher.parameters()) for teacher in teachers(objective)]
    optimiser = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.1)
    state = torch.get_rng_state()
    losses = objective(batch_of(run))
    chance_used = not torch.equal(torch.get_rng_state(), state)
    losses.total.backward()
    optimiser.step()
    between = [copied(teacher.parameters()) for teacher in teachers(objective)]
    if hasattr(objective, "after_step"):
        objective.after_step(1)
    # branches that start at zero pass nothing on in the first step
    objective(batch_of(run)).total.backward()
    gradients = {name: p.grad for name, p in student.named_parameters() if p.requires_grad}
    return Trained(run, objective, losses, student, gradients, chance_used, before, between)


def test_losses_are_finite_scalars(trained: Trained) -> None:
    losses = trained.losses
    assert losses.terms and losses.total.requires_grad
    for name, value in {**losses.terms, **losses.metrics}.items():
        assert value.ndim == 0 and value.isfinite(), name
        assert value.dtype == torch.float32, f"{name} is {value.dtype}"
    assert not [name for name, value in losses.metrics.items() if value.requires_grad]


def test_gradients_reach_the_encoder(trained: Trained) -> None:
    found = {name: grad for name, grad in trained.gradients.items() if grad is not None}
    assert all(grad.isfinite().all() for grad in found.values())
    moved = [name for name, grad in found.items() if bool((grad != 0).any())]
    first = next(name for name in trained.gradients if name.endswith("weight"))
    assert first in moved, f"nothing reaches {first}, which is nearest to the images"
    still = sorted(set(trained.gradients) - set(moved))
    assert len(moved) > 0.7 * len(trained.gradients), f"the step leaves {still} as they are"


def test_chance_comes_from_the_batch_alone(trained: Trained) -> None:
    assert not trained.chance_used, "sample from `batch.rng`, so that an image's numbers are its own"


def test_teachers_follow_after_the_step_and_not_before(trained: Trained) -> None:
    found = teachers(trained.objective)
    if not found:
        pytest.skip("has no teacher")
    for teacher, before, between in zip(found, trained.before, trained.between, strict=True):
        assert not [name for name, p in teacher.named_parameters() if p.requires_grad or p.grad is not None]
        assert not any(module.training for module in teacher.modules())
        assert all(torch.equal(a, b) for a, b in zip(before, between, strict=True)), "the optimiser moved it"
        now = list(teacher.parameters())
        assert any(not torch.equal(a, b) for a, b in zip(between, now, strict=True)), "after_step left it"


def test_a_run_that_is_taken_up_again_goes_on_alike(trained: Trained) -> None:
    state = {name: value.clone() for name, value in trained.objective.state_dict().items()}
    again = built(trained.run, seed=1).train()
    assert any(not torch.equal(value, state[name]) for name, value in again.state_dict().items())
    again.load_state_dict(state)
    for one, other in zip(teachers(again), teachers(trained.objective), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values()))
    with torch.no_grad():
        totals = [float(each(batch_of(trained.run)).total) for each in (again, trained.objective.train())]
    trained.objective.load_state_dict(state)  # centres and statistics move while they look
    assert totals[0] == pytest.approx(totals[1], rel=1e-5)


def test_the_saved_encoder_opens(trained: Trained, tmp_path: Path) -> None:
    encoder = trained.objective.encoder.eval()
    encoder.save_pretrained(tmp_path / "encoder")
    found = open_encoder(str(tmp_path))
    assert found.facts["class"] == type(encoder).__name__
    images = batch_of(trained.run).images
    device = next(found.encoder.parameters()).device  # type: ignore[attr-defined]
    tokens = found.encoder(images.to(device), layers=(0,))
    with torch.no_grad():
        expected = encoder(images, layers=(0,))
    assert len(tokens.levels) == 1 and tokens.patches.shape[-1] == found.encoder.dim
    assert torch.allclose(tokens.patches.cpu(), expected.patches, atol=1e-5)
    trained.objective.train()


# these cut crops of their own size from images of any
CROPPING = {"attmask", "ibot"}


@pytest.mark.parametrize("pixels", [17, 18])
@pytest.mark.parametrize("name", NAMES)
def test_images_that_do_not_divide(name: str, pixels: int) -> None:
    if name in CROPPING:
        assert first_losses(name, pixels=pixels).total.isfinite()
        return
    with pytest.raises(UserError, match=rf"(\b{pixels}\b|grid of 9 x 9).*(divide|multiple|even number)"):
        first_losses(name, pixels=pixels)


RATED = [name for name in NAMES if "mask_ratio" in inspect.signature(configs.experiment(name)).parameters]


@pytest.mark.parametrize("ratio", [0.0, 1.0])
@pytest.mark.parametrize("name", RATED)
def test_hiding_nothing_or_everything(name: str, ratio: float) -> None:
    with pytest.raises(UserError, match=r"ratio|cannot mask"):
        first_losses(name, mask_ratio=ratio)


def tokenizer_of_other_patches(folder: Path) -> str:
    CentroidTokenizer(8, 16).save_pretrained(folder)
    return str(folder)


def encoder_of_another_width(folder: Path) -> str:
    VitEncoder(16, 4, 16, 2, 2).save_pretrained(folder)
    return str(folder)


# config, option, what is passed, and what the message must say
UNFIT: list[tuple[str, str, Callable[[Path], str], str]] = [
    ("beitv2", "tokenizer", tokenizer_of_other_patches, "pass another --tokenizer"),
    ("cae", "tokenizer", tokenizer_of_other_patches, "pass another --tokenizer"),
    ("ccvit", "tokenizer", tokenizer_of_other_patches, "pass another --tokenizer"),
    ("hap", "init", encoder_of_another_width, "same patch and width"),
]


@pytest.mark.parametrize(("name", "option", "make", "message"), UNFIT, ids=[each[0] for each in UNFIT])
def test_networks_that_do_not_fit(
    name: str, option: str, make: Callable[[Path], str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        built(experiment(name, **{option: make(tmp_path)}))


# config, option, what is passed, and what the message must say
LACKING = [
    ("croco", {}, r"two views.*--data parallax"),
    ("hap", {"parts": 6}, r"no keypoints.*take figures"),
]


@pytest.mark.parametrize(("name", "options", "message"), LACKING, ids=[each[0] for each in LACKING])
def test_data_that_lack_what_is_needed(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        first_losses(name, data="emoji", **options)
