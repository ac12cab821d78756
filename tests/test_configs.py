"""Every config: builds at size "tiny", takes a training step on a CPU, and refuses unknown sizes."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import fields, replace
from pathlib import Path

import pytest

from mimgen import configs
from mimgen.errors import UserError
from mimgen.recipes import Build, Pretrain, Run, TrainFlags, TrainGenerator

FOLDER = Path(__file__).parents[1] / "configs"
FILES = sorted(
    path for path in FOLDER.rglob("*.py") if path.name != "__init__.py" and path.parent.name != "compare"
)
NAMES = [path.stem for path in FILES]
TRAINED = [name for name in NAMES if name != "centroids"]  # the others are computed


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer after one step, for the generators."""
    out = tmp_path_factory.mktemp("tokenizer")
    _short(configs.experiment("vqgan")(size="tiny", steps=1)).run(out)
    return out


def _short(run: Run) -> Run:
    if isinstance(run, Build):
        return run
    settings = replace(run.settings, steps=1, batch_size=4, precision="fp32", tracker="none", sample_every=1)
    return replace(run, settings=settings)


def test_every_file_is_found_by_its_name() -> None:
    assert sorted(configs.names()) == sorted(NAMES)
    assert len(set(NAMES)) == len(NAMES), "the name is what the command line knows a config by"


@pytest.mark.parametrize("name", NAMES)
def test_one_step(name: str, tokenizer: Path, tmp_path: Path) -> None:
    run = _short(configs.experiment(name)(size="tiny"))
    run = run.with_tokenizer(tokenizer) if isinstance(run, TrainGenerator) else run
    result = run.run(tmp_path)
    assert result.step == (0 if isinstance(run, Build) else 1)
    assert not result.interrupted
    left = {TrainGenerator: "pipeline/model_index.json", Pretrain: "encoder/config.json"}
    assert (tmp_path / left.get(type(run), "tokenizer/config.json")).is_file()


@pytest.mark.parametrize("name", NAMES)
def test_docstring_gives_paper_command_and_figure(name: str) -> None:
    function = configs.experiment(name)
    text = inspect.getdoc(function) or ""
    for heading in ("Paper:", "Command:", "Expected:", "Args:"):
        assert heading in text, f"{name} says nothing under {heading}"
    described = text.split("Args:")[1]
    for argument in inspect.signature(function).parameters:
        count = described.count(f"\n    {argument}:")
        assert count == 1, f"{name} explains {argument} {count} times; the flags of every training are in `TrainFlags`"


@pytest.mark.parametrize("name", TRAINED)
def test_common_flags_are_flags_like_a_configs_own(name: str) -> None:
    module, flat = importlib.import_module(configs.names()[name]), configs.experiment(name)
    own = [each for each in inspect.signature(module.experiment).parameters if each != "common"]
    shared = [each.name for each in fields(TrainFlags)]
    assert list(inspect.signature(flat).parameters) == [*own, *shared]
    assert [each.name for each in fields(configs.arguments_of(flat))] == [*own, *shared, "out"]
    overridden, usual = flat(size="tiny", steps=3, seed=5, pixels=40), module.experiment(size="tiny")
    assert overridden.settings == replace(usual.settings, steps=3, seed=5)
    assert overridden.data_config == replace(usual.data_config, size=40)
    assert overridden.record() == usual.record() | {"pixels": 40}
    with pytest.raises(TypeError, match="nonsense"):
        flat(size="tiny", nonsense=1)


def test_a_computed_config_has_its_own_flags_only() -> None:
    assert "steps" not in inspect.signature(configs.experiment("centroids")).parameters


def test_a_config_says_what_is_peculiar_about_a_common_flag() -> None:
    text = configs.arguments_of(configs.experiment("hap")).__doc__ or ""
    assert "pixels: height of the images" in text
    assert "batch_size: images per step" in text
    assert "common:" not in text


@pytest.mark.parametrize("name", NAMES)
def test_unknown_size_lists_the_sizes(name: str) -> None:
    with pytest.raises(UserError, match="tiny"):
        configs.experiment(name)(size="gigantic")


@pytest.mark.parametrize("name", NAMES)
def test_every_size_is_valid(name: str) -> None:
    module = importlib.import_module(configs.names()[name])
    for size in module.SIZES:
        run = configs.experiment(name)(size=size)
        assert run.size == size
        assert not run.options, "the usual values in `changed` are those of the arguments"


def test_a_generator_without_tokenizer_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--tokenizer"):
        configs.experiment("meissonic")(size="tiny").run(tmp_path)


@pytest.mark.parametrize("name", sorted(path.stem for path in (FOLDER / "compare").glob("[!_]*.py")))
def test_comparisons_are_described(name: str) -> None:
    function = configs.experiment(name, "compare")
    text = inspect.getdoc(function) or ""
    assert f"Command: mimgen compare {name}" in text and "Cost:" in text
    described = text.split("Args:")[1]
    for argument in inspect.signature(function).parameters:
        assert f"    {argument}:" in described, f"{name} does not describe {argument}"
