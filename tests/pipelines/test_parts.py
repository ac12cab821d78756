"""The parts of a pipeline: what can be one, and their grid."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from mimgen.errors import UserError
from mimgen.pipelines.parts import load_part, save_part, token_grid
from mimgen.tokenizers import ConvTokenizer


def folder(tmp_path: Path, kind: str) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": kind}))
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("VqKd", "codes stand for features"),
        ("VitEncoder", "pass the folder of a tokenizer"),
        ("Unheard", "does not know"),
    ],
)
def test_what_cannot_be_drawn_with(tmp_path: Path, kind: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_part("vqvae", folder(tmp_path, kind))


def test_only_what_loads_again_is_saved(tmp_path: Path) -> None:
    class Mine(ConvTokenizer):
        pass

    tokenizer = ConvTokenizer(channels=8, multipliers=(1,), blocks=1, stem=4)
    assert save_part("vqvae", tokenizer, tmp_path, None) == ["mimgen.tokenizers.conv", "ConvTokenizer"]
    assert isinstance(load_part("vqvae", tmp_path), ConvTokenizer)
    for name, part in (("transformer", tokenizer), ("vqvae", Mine(channels=8, multipliers=(1,), blocks=1, stem=4))):
        with pytest.raises(UserError, match=f"cannot be saved as {name}"):
            save_part(name, part, tmp_path / "other", None)


def test_grids() -> None:
    tokenizer = ConvTokenizer(channels=8, multipliers=(1,), blocks=1, stem=4)
    assert token_grid(tokenizer, 16, 24) == (4, 6)
    with pytest.raises(UserError, match="multiples of 4"):
        token_grid(tokenizer, 18, 16)
    assert token_grid(SimpleNamespace(grid=(1, 32), downsample=16), 256, 256) == (1, 32)
