"""One contract for every masking strategy: exact counts, own streams, clear errors."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.ops.discover import classes_below, is_masking
from mimgen.types import Mask, SampleRNG

GRID = (4, 6)
SEEDS = (3, 1, 4, 1592)
Guide = Callable[[tuple[int, int], int], dict[str, Tensor]]


def scores(grid: tuple[int, int], rows: int) -> dict[str, Tensor]:
    """One score per patch, all different."""
    generator = torch.Generator().manual_seed(7)
    return {"guide": torch.rand(rows, grid[0] * grid[1], generator=generator)}


def tokens_too(grid: tuple[int, int], rows: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(8)
    return {**scores(grid, rows), "tokens": torch.randn(rows, grid[0] * grid[1], 5, generator=generator)}


def parts(grid: tuple[int, int], rows: int) -> dict[str, Tensor]:
    """Patches of three parts."""
    generator = torch.Generator().manual_seed(9)
    return {"guide": torch.rand(rows, 3, grid[0] * grid[1], generator=generator) < 0.3}


def without(grid: tuple[int, int], rows: int) -> dict[str, Tensor]:
    return {}


@dataclass(frozen=True)
class Entry:
    """How the contract is asked of one strategy.

    Attributes:
        options: of the strategy, fit for a grid of 4 x 6 patches.
        guide: what it is told beside grid and samples.
        flat: called with the number of tokens in the place of a grid; of generators, which have no patches.
        exact: every row masks the same number of patches, some but not all.
        impossible: options that mask nothing, everything, or a share outside 0..1.
        misfits: grids that options of these units or counts do not fit.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    guide: Guide = without
    flat: bool = False
    exact: bool = True
    impossible: tuple[Mapping[str, Any], ...] = ()
    misfits: tuple[tuple[int, int], ...] = ()


RATIOS = ({"ratio": 0.0}, {"ratio": 1.0}, {"ratio": -0.5}, {"ratio": 1.5}, {"ratio": 0.99})
SHARES = ({"ratio": (-0.1, 0.5)}, {"ratio": (0.5, 1.1)}, {"ratio": (0.6, 0.4)}, {"chance": 1.5})

NEEDING: dict[str, Entry] = {
    "ArccosRate": Entry(flat=True, exact=False, impossible=({"minimum": -0.1}, {"minimum": 1.1})),
    # one share for a batch is a choice of its own; a row by itself is what is promised here
    "AttentionMasking": Entry({"shared": False}, scores, exact=False, impossible=(*SHARES, {"mode": "most"})),
    "Block": Entry(
        {"count": 9, "minimum": 2},
        impossible=({"count": 0}, {"count": 24}, {"count": -1}),
        misfits=((2, 4), (3, 3)),
    ),
    "TwoLevel": Entry(flat=True, exact=False, impossible=({"minimum": 0.0}, {"minimum": 1.0})),
    "CosineRate": Entry(
        flat=True, exact=False, impossible=({"full_mask_prob": 1.0}, {"minimum": -0.1}, {"minimum": 1.1})
    ),
    "Disjoint": Entry({"ratio": 0.5, "unit": 2}, impossible=RATIOS, misfits=((4, 5), (3, 6))),
    "Hard": Entry({"ratio": 0.5}, scores, impossible=(*RATIOS, {"share": 1.5})),
    "Parts": Entry({"minimum": 2}, parts, impossible=(*RATIOS, {"share": -1.0})),
    "Random": Entry({"unit": 2}, impossible=RATIOS, misfits=((4, 5), (3, 6))),
    "Selective": Entry(
        {"keep": 0.25, "score": 0.25},
        tokens_too,
        impossible=({"keep": 0.0}, {"keep": 1.0}, {"score": 0.0}, {"keep": 0.8, "score": 0.3}),
        misfits=((1, 2),),
    ),
    "VariedBlock": Entry(exact=False, impossible=SHARES),
}


def usual(kind: type) -> Entry:
    """A strategy whose defaults fit the grid: masks an exact number of patches, is told scores if it takes a guide."""
    reported = scores if "guide" in inspect.signature(kind.__call__).parameters else without
    ratio = any(option.name == "ratio" for option in dataclasses.fields(kind))
    return Entry(guide=reported, impossible=RATIOS if ratio else ())


KINDS = classes_below("mimgen.masking", "mimgen.methods", "mimgen.generators", wanted=is_masking)
STRATEGIES = {name: NEEDING.get(name) or usual(kind) for name, kind in KINDS.items()}
INFORMED = [name for name, entry in STRATEGIES.items() if entry.guide is not without]


def strategy(name: str, **options: Any) -> Any:
    return KINDS[name](**{**STRATEGIES[name].options, **options})


def masks(name: str, seeds: tuple[int, ...], reported: dict[str, Tensor], grid: tuple[int, int] = GRID) -> list[Mask]:
    """All masks that one call gives; some tell the sampled rates, too."""
    position = grid[0] * grid[1] if STRATEGIES[name].flat else grid
    found = strategy(name)(position, SampleRNG(seeds), **reported)
    return [each for each in (found if isinstance(found, tuple) else (found,)) if isinstance(each, Mask)]


def test_every_strategy_is_held_to_the_contract() -> None:
    """A new one comes along by itself; one that needs options of its own has an entry above."""
    gone = sorted(set(NEEDING) - set(STRATEGIES))
    assert not gone, f"no longer defined: {gone}: take them out of NEEDING here"


@pytest.mark.parametrize("name", STRATEGIES)
def test_is_a_frozen_record_of_its_options(name: str) -> None:
    made = strategy(name)
    assert dataclasses.is_dataclass(made) and made == strategy(name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, dataclasses.fields(made)[0].name, None)


@pytest.mark.parametrize("name", STRATEGIES)
def test_hides_patches_of_the_grid(name: str) -> None:
    for mask in masks(name, SEEDS, STRATEGIES[name].guide(GRID, len(SEEDS))):
        assert mask.masked.shape == (len(SEEDS), 24) and mask.masked.dtype == torch.bool
        assert mask.masked.any(), "four rows that mask nothing"
        assert mask.predict.dtype == torch.bool and not (mask.predict & ~mask.masked).any()


@pytest.mark.parametrize("name", [name for name, entry in STRATEGIES.items() if entry.exact])
def test_rows_hide_equally_many(name: str) -> None:
    for mask in masks(name, SEEDS, STRATEGIES[name].guide(GRID, len(SEEDS))):
        counts = mask.masked.sum(1)
        assert (counts == counts[0]).all() and 0 < counts[0] < 24
        assert (mask.predict.sum(1) == mask.predict[0].sum()).all() and mask.predict[0].any()
        positions = torch.arange(24).expand(len(SEEDS), -1)
        both = torch.cat([mask.keep, mask.drop], dim=1)
        assert (both.gather(1, mask.restore) == positions).all()
        assert mask.masked.gather(1, mask.drop).all() and not mask.masked.gather(1, mask.keep).any()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_row_depends_on_its_own_stream_only(name: str) -> None:
    reported = STRATEGIES[name].guide(GRID, len(SEEDS))
    together = masks(name, SEEDS, reported)
    for row, seed in enumerate(SEEDS):
        alone = masks(name, (seed,), {key: value[row : row + 1] for key, value in reported.items()})
        for one, many in zip(alone, together, strict=True):
            assert (one.masked[0] == many.masked[row]).all() and (one.predict[0] == many.predict[row]).all()


@pytest.mark.parametrize("name", STRATEGIES)
def test_draws_are_the_only_source_of_chance(name: str) -> None:
    reported = STRATEGIES[name].guide(GRID, len(SEEDS))
    before = torch.get_rng_state()
    first, again = masks(name, SEEDS, reported), masks(name, SEEDS, reported)
    assert (torch.get_rng_state() == before).all(), "numbers were sampled outside of the streams"
    assert all((a.masked == b.masked).all() and (a.predict == b.predict).all() for a, b in zip(first, again))
    others = masks(name, tuple(range(50, 50 + len(SEEDS))), reported)
    assert any((a.masked != b.masked).any() for a, b in zip(first, others)), "the streams change nothing"


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_it_is_reported_stays_as_it_was(name: str) -> None:
    reported = STRATEGIES[name].guide(GRID, len(SEEDS))
    copies = {key: value.clone() for key, value in reported.items()}
    masks(name, SEEDS, reported)
    assert all((reported[key] == copies[key]).all() for key in reported)


@pytest.mark.parametrize(("name", "options"), [(n, o) for n, e in STRATEGIES.items() for o in e.impossible])
def test_refuses_to_hide_nothing_or_everything(name: str, options: dict[str, Any]) -> None:
    reported = STRATEGIES[name].guide(GRID, len(SEEDS))
    with pytest.raises(UserError, match=r"choose|lies |take |both above"):
        strategy(name, **options)(24 if STRATEGIES[name].flat else GRID, SampleRNG(SEEDS), **reported)


@pytest.mark.parametrize(("name", "grid"), [(n, g) for n, e in STRATEGIES.items() for g in e.misfits])
def test_refuses_a_grid_that_does_not_fit(name: str, grid: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=r"choose|divide|take "):
        masks(name, SEEDS, STRATEGIES[name].guide(grid, len(SEEDS)), grid)


@pytest.mark.parametrize("name", INFORMED)
def test_refuses_a_guide_of_other_patches_or_images(name: str) -> None:
    for grid, rows in (((4, 5), len(SEEDS)), (GRID, len(SEEDS) + 1), (GRID, 1)):
        reported = {**STRATEGIES[name].guide(GRID, len(SEEDS)), "guide": STRATEGIES[name].guide(grid, rows)["guide"]}
        with pytest.raises(UserError, match=r"same images on the same grid"):
            masks(name, SEEDS, reported)
