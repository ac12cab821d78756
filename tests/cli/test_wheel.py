"""An installed wheel: everything that the commands need is inside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREE = ("mimgen", "configs", "pyproject.toml", "README.md", "LICENSE")


def test_every_package_is_declared() -> None:
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"])
    found = set()
    for top, name in (("mimgen", "mimgen"), ("configs", "mimgen_configs")):
        for path in (ROOT / top).rglob("__init__.py"):
            parts = path.parent.relative_to(ROOT / top).parts
            found.add(".".join((name, *parts)))
    assert declared == found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources, installed into a folder of its own."""
    base = tmp_path_factory.mktemp("wheel")
    copy = base / "tree"
    copy.mkdir()
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    quiet = {"capture_output": True, "text": True}
    built = subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(base), str(copy)], **quiet
    )
    assert built.returncode == 0, built.stderr
    target = base / "installed"
    wheel = next(base.glob("*.whl"))
    done = subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], **quiet)
    assert done.returncode == 0, done.stderr
    return target


def run(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, *words], cwd=installed.parent, env=environment, capture_output=True, text=True, timeout=600
    )


def test_commands_run_from_the_wheel(installed: Path) -> None:
    done = run(installed, "-m", "mimgen.cli.main", "systems")
    assert done.returncode == 0, done.stderr
    assert "Meissonic" in done.stdout
    listed = run(installed, "-m", "mimgen.cli.main", "train")
    assert listed.returncode == 0, listed.stderr
    assert "meissonic" in listed.stdout
    assert "vqgan" in listed.stdout


def test_configs_and_data_are_inside(installed: Path) -> None:
    code = (
        "import mimgen, mimgen_configs.generate.meissonic as c; from mimgen.data import open_data; "
        "run = c.experiment(size='tiny'); print(mimgen.__file__, len(open_data('emoji', size=16)), run.name)"
    )
    done = run(installed, "-c", code)
    assert done.returncode == 0, done.stderr
    file, count, name = done.stdout.split()
    assert Path(file).is_relative_to(installed)
    assert int(count) > 3000
    assert name == "meissonic"


@pytest.mark.parametrize("folder", ["mimgen/data/assets", "mimgen/assets"])
def test_assets_are_inside(installed: Path, folder: str) -> None:
    wanted = {p.relative_to(ROOT) for p in (ROOT / folder).rglob("*") if p.is_file()}
    missing = {path for path in wanted if not (installed / path).is_file()}
    assert not missing


def test_page_template_and_licence_are_inside(installed: Path) -> None:
    assert (installed / "mimgen" / "report" / "page.html").is_file()
    assert list(installed.glob("mimgen-*.dist-info/licenses/LICENSE"))
