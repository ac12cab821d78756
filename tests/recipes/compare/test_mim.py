"""`mimgen compare mim`: what a step costs, its arms and controls, a run from end to end."""

from __future__ import annotations

import importlib
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import flop_registry

from mimgen import configs
from mimgen.errors import UserError
from mimgen.probing.frozen import ProbeRequest
from mimgen.probing.open import open_encoder
from mimgen.recipes.compare import ProbeEncoder
from mimgen.recipes.flops import operations
from tests.recipes.compare.in_process import use

experiment = configs.experiment("mim", "compare")
config: Any = importlib.import_module(configs.names("compare")["mim"])


def test_operations_of_mae_are_those_of_its_layers() -> None:
    """Forward and backward products of 16 patches of 48 numbers, 4 of them visible, and a class token."""
    width, narrow, visible, seen = 32, 24, 1 + 4, 1 + 16

    def products(tokens: int, a: int, b: int) -> int:
        return 2 * tokens * a * b

    blocks = 2 * 12 * products(visible, width, width) + 12 * products(seen, narrow, narrow)
    linear = blocks + products(visible, width, narrow) + products(seen, narrow, 48)
    embedding = products(visible - 1, 48, width)  # of patches that are seen; images need no gradient
    attention = 2 * 4 * visible**2 * width + 4 * seen**2 * narrow  # backward two and a half times as much
    # not every release of torch counts the CPU's attention kernel
    counted = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu in flop_registry
    expected = 3 * linear + 2 * embedding + (3.5 * attention if counted else 0)
    assert operations(configs.training("mae", size="tiny")) == expected


def test_every_system_is_a_config_and_has_files_of_its_own() -> None:
    compare = experiment(size="tiny", pixels=16, images=64)
    assert len({arm.file for arm in compare.arms}) == len(compare.arms) > 60
    for arm in compare.arms:
        pickle.dumps(arm.parts)  # rows are computed in processes of their own
        if "training" in arm.parts:
            run = arm.parts["training"].build(0)
            assert run.data_config.split == "train" and run.settings.precision == "fp32"
    assert len({each.name for each in config.COMPARISONS}) == len(config.COMPARISONS) == len(compare.hypotheses)
    for each in config.COMPARISONS:
        assert {each.systems[0].data is None} == {each.scores is config.FOLDED}, "own data have measures of their own"


def test_controls_are_arms() -> None:
    compare = experiment(systems="mff", ablations=False)
    names = [arm.name for arm in compare.arms]
    assert names == ["mff", "mff-mixture=last", "mff-untrained", "raw pixels"]
    assert compare.hypotheses[0].untrained == "mff-untrained"
    assert [arm.name for arm in experiment(systems="mff", ablations=False, controls=False).arms] == names[:2]
    assert experiment(systems="satvision_toa").hypotheses[0].baseline == "satvision_toa-data=bands-untrained"
    with pytest.raises(UserError, match="choose from simmim"):
        experiment(systems="simmin")


def test_schedules_end_with_the_steps_of_the_budget() -> None:
    arm = experiment(systems="hpm", size="tiny", pixels=16).arms[0]
    assert arm.parts["training"].build(0, 7).settings.steps == 7 and arm.parts["training"].fit_schedules


def probed(request: ProbeRequest) -> dict[str, Any]:
    """A row of probes, without the probes."""
    assert open_encoder(request.spec, request.pixels).pixels == request.pixels
    return {"accuracy": dict.fromkeys(request.probes, 0.25), "majority": 0.1, "layer": 0}


def test_two_systems_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each system, its baseline and its control for a step: one that is probed, one with data of its own."""
    use(monkeypatch)
    compare = experiment(systems="mff,satvision_toa", seeds="0", size="tiny", pixels=16, images=8, ablations=False)
    arms = [
        replace(arm, parts={name: replace(part, compute=probed) if isinstance(part, ProbeEncoder) else part
                            for name, part in arm.parts.items()})
        for arm in compare.arms
    ]  # fmt: skip
    compare = replace(compare, arms=arms)
    done = compare.run(tmp_path)
    assert not done.failures
    kept = {path.name: path.read_bytes() for path in (tmp_path / "rows").iterdir()}
    result = json.loads(done.path.read_text("utf-8"))
    table = next(value for title, value in result["scores"].items() if title.startswith("mff"))
    assert table["MFF"]["knn %"] == 0.25 and table["untrained"]["steps"] == 0
    assert table["most frequent class"] == {"knn on val %": 0.1, "linear on val %": 0.1}
    assert table["MFF"]["share_0"] == pytest.approx(0.5, abs=0.1)
    first = result["rows"]["mff"][0]["training"]
    assert first["steps"] == 1 and first["share"] > 1, "a fusion costs something"
    clouds = next(value for title, value in result["scores"].items() if title.startswith("satvision"))
    assert {"cloud profile IoU %", "cloud cover %"} <= set(clouds["untrained"])
    assert all(one["outcome"] == "open" for one in result["outcomes"]), "a single seed decides nothing"
    compare.run(tmp_path)
    assert kept == {path.name: path.read_bytes() for path in (tmp_path / "rows").iterdir()}, "resumes"
