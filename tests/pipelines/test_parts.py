"""Which class a folder holds: every tokenizer of the table, and clear words for the others."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from mimgen.errors import UserError
from mimgen.pipelines.parts import CONTINUOUS, FEATURES_ONLY, KINDS, class_in, load_part, token_grid
from mimgen.tokenizers import ConvTokenizer

EVERY = {**FEATURES_ONLY, **CONTINUOUS, **{name: at for kinds in KINDS.values() for name, at in kinds.items()}}


@pytest.mark.parametrize("name", sorted(EVERY))
def test_the_table_names_classes_that_exist(name: str) -> None:
    module, kind = EVERY[name]
    found = getattr(importlib.import_module(module), kind)
    assert callable(found.from_pretrained)
    assert callable(found.save_pretrained)


def folder(tmp_path: Path, kind: str) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": kind}))
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("VqKd", "codes stand for features"),
        ("AutoencoderKL", "latents and no codes"),
        ("PatchDiscriminator", "ConvTokenizer, VQModel"),
    ],
)
def test_what_cannot_be_drawn_with(tmp_path: Path, kind: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_part("vqvae", folder(tmp_path, kind))


def test_broken_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="not the JSON"):
        class_in(tmp_path)


def test_grids() -> None:
    tokenizer = ConvTokenizer(channels=8, multipliers=(1,), blocks=1, stem=4)
    assert token_grid(tokenizer, 16, 24) == (4, 6)
    with pytest.raises(UserError, match="multiples of 4"):
        token_grid(tokenizer, 18, 16)
    assert token_grid(SimpleNamespace(grid=(1, 32), downsample=16), 256, 256) == (1, 32)
