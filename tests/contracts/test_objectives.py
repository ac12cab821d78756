"""One contract for every objective of `mimgen.methods`: what galleries, probes and studies may ask of it."""

import dataclasses
import functools
from collections.abc import Callable

import pytest
import torch

from mimgen import methods
from mimgen.methods.base import Objective
from mimgen.training import Trainable
from mimgen.types import Batch, SampleRNG
from tests.contracts.test_pretraining import NAMES, _codes_are_not_fitted, batch_of, built, experiment

PARTLY = {"ropim"}  # every patch is masked, in part
VARYING = {"ibot", "attmask"}  # some of their crops are left whole
__all__ = ["_codes_are_not_fitted"]  # the fixture of the other contract

# every name of the package that is an objective and that no config of configs/pretrain builds, with its reason
ELSEWHERE = {
    "FeatureReconstruction": "trains a tokenizer",
    "MergeVQTraining": "trains a tokenizer",
    "ProxyCodes": "trains a tokenizer",
    "Reconstruction": "trains a tokenizer",
}


@functools.cache
def made(name: str) -> tuple[Objective, Callable[[], Batch]]:
    """The objective of a config at size tiny, and its batches, each with fresh streams."""
    options = {"target": "hog"} if name == "itpn on features" else {}
    run = experiment(name.split()[0], **options)
    return built(run).eval(), lambda: batch_of(run)


EACH = pytest.mark.parametrize("name", [*NAMES, "itpn on features"])


def test_every_objective_is_built_by_a_config() -> None:
    exported = {getattr(methods, name) for name in methods.__all__}
    wanted = {kind for kind in exported if isinstance(kind, type) and issubclass(kind, Trainable)}
    found = {type(made(name)[0]) for name in [*NAMES, "itpn on features"]}
    missing = {kind.__name__ for kind in wanted - found}
    assert missing <= set(ELSEWHERE), "give it a config in configs/pretrain"
    assert all(issubclass(kind, Objective) for kind in found)


@EACH
def test_the_loop_knows_the_step(name: str) -> None:
    objective, batch = made(name)
    counters = [key for key, value in objective.named_buffers() if "." not in key and value.ndim == 0]
    assert not counters, "batch.step says where the run stands"
    for step in (1, 5, 10):
        assert objective(dataclasses.replace(batch(), step=step, steps=10)).total.isfinite()


@EACH
def test_the_same_streams_give_the_same_mask_and_losses(name: str) -> None:
    objective, batch = made(name)
    first, second = objective.mask(batch()), objective.mask(batch())
    assert torch.equal(first.masked, second.masked) and torch.equal(first.predict, second.predict)
    with torch.no_grad():
        assert torch.equal(objective(batch()).total, objective(batch()).total)
    other = dataclasses.replace(batch(), rng=SampleRNG(range(90, 90 + len(batch()))))
    again = objective.mask(other)
    shown = [getattr(mask, "projection", mask.masked) for mask in (first, again)]
    assert not torch.equal(*shown), "the mask does not depend on the streams"


@EACH
def test_a_mask_has_one_count_in_every_row(name: str) -> None:
    objective, batch = made(name)
    mask = objective.mask(batch())
    assert mask.masked.dtype == torch.bool and len(mask.masked) == len(batch())
    counts = set(mask.masked.sum(1).tolist())
    if name in PARTLY:
        assert counts == {mask.masked.shape[1]}
        return
    assert name in VARYING or (len(counts) == 1 and 0 < counts.pop() < mask.masked.shape[1])


@EACH
@torch.no_grad()
def test_predictions_and_reconstructions_lie_on_the_grid_of_the_mask(name: str) -> None:
    objective, batch = made(name)
    mask = objective.mask(batch())
    predicted = objective.predict(batch(), mask)
    assert predicted.shape[:2] == mask.masked.shape and predicted.ndim == 3 and predicted.isfinite().all()
    assert predicted[mask.masked].abs().sum() > 0
    images = objective.reconstruct(batch(), mask)
    if images is not None:
        assert images.shape == batch().images.shape and images.isfinite().all()


@pytest.mark.parametrize("name", ["mae", "simmim", "hpm", "cae", "beitv2", "ccvit"])
def test_a_chosen_mask_takes_the_place_of_its_own(name: str) -> None:
    objective, batch = made(name)
    mask = objective.mask(batch())
    with torch.no_grad():
        own, chosen = objective(batch()), objective(Batch(batch().images), mask)
    assert all(torch.equal(own.terms[key], chosen.terms[key]) for key in own.terms)


def test_hard_masks_follow_the_course_of_the_run() -> None:
    objective, batch = made("hpm")
    shares = [float(objective(dataclasses.replace(batch(), step=step, steps=4)).metrics["hard"]) for step in (1, 2, 4)]
    assert shares == [0.125, 0.25, 0.5]
