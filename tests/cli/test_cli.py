"""The command line from outside: help, errors of users, exit statuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mimgen import configs
from mimgen.cli import main as cli
from mimgen.cli.help import COMMANDS

ROOT = Path(__file__).parents[2]


def mimgen(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "mimgen.cli.main", *words], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, **environment}, timeout=600,
    )  # fmt: skip


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of an error that is the user's."""
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("mimgen: error: ")
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    # Importing PyTorch is what makes an answer slow; a limit in seconds would also fail on a busy machine.
    code = """
import sys
from mimgen.cli import main
assert main.main(["--help"]) == 0
print("heavy:", sorted({"torch", "diffusers", "numpy", "PIL"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(command in done.stdout for command in COMMANDS)
    assert done.stdout.endswith("heavy: []\n")


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(command: str) -> None:
    done = mimgen(command, "--help")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 60


def test_a_process_ends_with_status_2_and_no_traceback() -> None:
    done = mimgen("trian")
    assert done.returncode == 2
    assert "did you mean train" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in mimgen("trian", MIMGEN_TRACEBACK="1").stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("quickstrat",), "did you mean quickstart"),
        (("train", "meisonic"), "did you mean meissonic"),
        (("train", "meissonic", "--stps", "3"), "did you mean --steps"),
        (("train", "meissonic", "--steps", "many"), "--steps"),
        (("train", "meissonic", "--steps"), "--steps"),
        (("train", "meissonic", "--size", "huge"), "choose from tiny"),
        (("train", "vqgan", "--pixels", "0"), "--pixels 0"),
        (("train", "vqgan", "--adversarial", "-1"), "from 0 on"),
        (("train", "mergevq", "--align", "kl"), "--teacher"),
        (("generate",), "give a prompt"),
        (("generate", "a heart", "--n", "0"), "--n 0"),
        (("generate", "a heart", "--out", "a.txt"), ".png"),
        (("generate", "a heart", "--model", "no/such/model"), "no such folder"),
        (("evaluate", "fidd"), "did you mean fid"),
        (("evaluate", "composition", "--model", "no/such/model"), "no such folder"),
        (("evaluate", "reconstruction", "--model", "no/such/model"), "--model takes"),
        (("evaluate", "reconstruction", "--pixels", "0"), "--pixels 0"),
        (("evaluate", "reconstruction", "--limit", "1"), "--limit 1"),
        (("data", "doctor", "--tokenizer", "no/such/model"), "--tokenizer takes"),
        (("data", "cache-codes", "--tokenizer", "runs/x"), "error: Missing from mimgen data cache-codes: --out"),
        (("convert", "lamagen", "a", "b"), "did you mean llamagen"),
        (("data", "shw"), "did you mean show"),
        (("data", "show", "no/such/images"), "no/such/images"),
        (("bench", "vqgn"), "did you mean vqgan"),
        (("compare", "tokeniser"), "did you mean tokenizers"),
        (("systems", "--jsn"), "did you mean --json"),
        (("quickstart", "--minutes", "0"), "--minutes"),
    ],
)
def test_mistakes_get_one_line_with_the_fix(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], expected: str
) -> None:
    assert expected in fails(capsys, *words)


def test_a_run_folder_without_a_pipeline(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "model_index.json" in fails(capsys, "generate", "a heart", "--model", str(tmp_path))


def test_an_out_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    out = str(tmp_path / "file" / "run")
    assert "choose another --out" in fails(capsys, "train", "vqgan", "--size", "tiny", "--out", out)


def test_missing_training_data(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("train", "vqgan", "--size", "tiny", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "run"))
    assert "none" in fails(capsys, *words)


def test_train_lists_every_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in configs.names():
        line = next(line for line in lines if line.startswith(f"  {name} "))
        assert line.endswith(".") and len(line) <= 100, line


def test_a_refused_command_leaves_a_run_as_it_was(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("train", "centroids", "--size", "tiny", "--iterations", "1", "--out", str(tmp_path / "run"))
    missing = str(tmp_path / "none")
    fails(capsys, *words, "--data", missing)
    assert not (tmp_path / "run").exists()
    assert cli.main(words) == 0
    before = (tmp_path / "run" / "command.json").read_text()
    assert "codes (was absent, now 8)" in fails(capsys, *words, "--codes", "8")
    assert (tmp_path / "run" / "command.json").read_text() == before


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(words: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupted)
    assert cli.main(["systems"]) == 130
    assert capsys.readouterr().err == "mimgen: interrupted\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mimgen 0.")
