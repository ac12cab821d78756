"""Every config: builds at size "tiny", takes a training step on a CPU, and refuses unknown sizes."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import replace
from pathlib import Path

import pytest

from mimgen.commands import configs
from mimgen.errors import UserError
from mimgen.recipes import Build, Pretrain, Run, TrainGenerator

FOLDER = Path(__file__).parents[1] / "configs"
FILES = sorted(path for path in FOLDER.rglob("*.py") if path.name != "__init__.py")
NAMES = [path.stem for path in FILES]


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
        assert f"{argument}:" in described, f"{name} does not explain {argument}"


@pytest.mark.parametrize("name", NAMES)
def test_unknown_size_lists_the_sizes(name: str) -> None:
    with pytest.raises(UserError, match="tiny"):
        configs.experiment(name)(size="gigantic")


@pytest.mark.parametrize("name", NAMES)
def test_every_size_is_valid(name: str) -> None:
    module = importlib.import_module(configs.names()[name])
    for size in module.SIZES:
        assert configs.experiment(name)(size=size).size == size


def test_a_generator_without_tokenizer_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--tokenizer"):
        configs.experiment("meissonic")(size="tiny").run(tmp_path)
