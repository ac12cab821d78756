"""The documents say what the code does. `python -m tests.test_readme` rewrites their generated tables."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from mimgen.cli.help import COMMANDS
from mimgen.cli.main import run
from mimgen.papers import PLANNED, built
from tests.test_architecture import FLOORS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [
    README, ROOT / "CONTRIBUTING.md", ROOT / "mimgen" / "README.md", ROOT / "tests" / "bench" / "README.md",
    ROOT / "mimgen" / "assets" / "emoji-64" / "README.md", ROOT / "configs" / "README.md",
    *sorted((ROOT / "configs").glob("*/README.md")),
]  # fmt: skip


def systems() -> str:
    """The 47 systems in Markdown, each with links to its code and its config; built ones first."""
    rows = ["| system | run it by | paper (arXiv) |", "|---|---|---|"]
    for paper in built():
        how = f"[{paper.config}](configs/{paper.config}.py)" if paper.config else f"`{paper.command}`"
        rows.append(f"| [{paper.slug}]({paper.code}) | {how} | {paper.title} ({paper.arxiv}) |")
    rows += [f"| {paper.slug} | planned | {paper.title} ({paper.arxiv}) |" for paper in PLANNED]
    return "\n".join(rows) + "\n"


def floors() -> str:
    """The packages of each floor with the first line of what they say about themselves, top floor first."""
    rows = ["| floor | package | what it holds |", "|---:|---|---|"]
    for name in sorted(FLOORS, key=lambda name: (-FLOORS[name], name)):
        module = ROOT / "mimgen" / f"{name}.py"
        package = module if module.exists() else module.with_suffix("") / "__init__.py"
        summary = (ast.get_docstring(ast.parse(package.read_text("utf-8"))) or "").split("\n")[0]
        rows.append(f"| {FLOORS[name]} | [{package.relative_to(ROOT / 'mimgen').parts[0]}]"
                    f"({package.relative_to(ROOT / 'mimgen').parts[0]}) | {summary} |")  # fmt: skip
    return "\n".join(rows) + "\n"


def generated(name: str) -> re.Pattern[str]:
    """What lies between the marks of a generated table."""
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end {name} -->)", re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The words of every command line in the page's bash blocks, comments left out."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


TABLES = {"systems": (README, systems), "floors": (ROOT / "mimgen" / "README.md", floors)}


def test_readme_is_one_page() -> None:
    text = README.read_text("utf-8")
    assert text.count("\n") <= 150 and len(text.encode()) <= 12 * 1024


def test_the_two_commands_are_word_for_word() -> None:
    text = README.read_text("utf-8")
    assert "\npip install -e . && mimgen quickstart\n" in text
    assert '\npip install -e ".[test]" && pytest\n' in text


def test_the_ten_lines_of_python_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    match = re.search(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert match is not None and match[1].count("\n") <= 10
    monkeypatch.chdir(tmp_path)
    exec(match[1], {})
    assert (tmp_path / "astronaut.png").is_file()
    assert capsys.readouterr().out == "torch.Size([8, 64, 192]) 7\n"


@pytest.mark.parametrize("name", TABLES)
def test_generated_tables_are_current(name: str) -> None:
    page, table = TABLES[name]
    match = generated(name).search(page.read_text("utf-8"))
    assert match is not None and match[0] == table(), "run: python -m tests.test_readme"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.fixture(scope="module")
def flags_of() -> Callable[[tuple[str, ...]], set[str]]:
    """The flags that `mimgen COMMAND [NAME] --help` names."""

    @cache
    def flags(command: tuple[str, ...]) -> set[str]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            run([*command, "--help"])
        return set(re.findall(r"--[a-z][a-z0-9-]*", out.getvalue()))

    return flags


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_their_flags_exist(page: Path, flags_of: Callable[[tuple[str, ...]], set[str]]) -> None:
    wrong = []
    for words in commands(page):
        if words[0] != "mimgen" or words[1:] == ["--help"]:
            continue
        name, *rest = words[1:]
        if name not in COMMANDS:
            wrong.append(shlex.join(words))
            continue
        given = {word.split("=")[0] for word in rest if word.startswith("--") and word != "--help"}
        # these take a name of their own first, which decides what flags there are
        named = name in ("train", "evaluate", "data", "compare", "bench") and bool(rest)
        if given:
            unknown = given - flags_of((name, rest[0]) if named else (name,))
            wrong += [f"{shlex.join(words)}: no {flag}" for flag in sorted(unknown)]
    assert not wrong, "\n".join(wrong)


if __name__ == "__main__":
    for mark, (path, make) in TABLES.items():
        path.write_text(generated(mark).sub(lambda _, make=make: make(), path.read_text("utf-8")), encoding="utf-8")
