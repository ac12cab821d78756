"""Prompts from arguments and from files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mimgen.errors import UserError
from mimgen.pipelines.prompts import PromptLine, expand_prompts, image_seeds, read_prompts


def written(folder: Path, text: str, name: str = "p.txt") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_lines_are_called_by_their_number(tmp_path):
    path = written(tmp_path, "\ufeffred apple\n\n  blue car  \n")
    assert read_prompts(path) == [PromptLine("red apple", "00001"), PromptLine("blue car", "00003")]


def test_lines_end_at_line_feeds_only(tmp_path):
    odd = "a\u2028b\x85c\x0bd"
    assert [line.prompt for line in read_prompts(written(tmp_path, f"{odd}\r\nnext\n"))] == [odd, "next"]
    row = json.dumps({"prompt": odd}, ensure_ascii=False)
    assert read_prompts(written(tmp_path, f"{row}\n", "p.jsonl")) == [PromptLine(odd, "00001")]


def test_objects(tmp_path):
    rows = '{"prompt": "a", "seed": 7, "name": "first"}\n{"prompt": "", "negative": "b", "name": null}\n'
    assert read_prompts(written(tmp_path, rows, "p.jsonl")) == [
        PromptLine("a", "first", 7), PromptLine("", "00002", None, "b"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.txt", " \n", "holds no prompt"),
        ("p.jsonl", "red apple\n", "line 1 of .* is not JSON"),
        ("p.jsonl", '{"prompt": "a"}\n["b"]\n', "line 2 of .* has no prompt"),
        ("p.jsonl", '{"prompt": "a", "sed": 1}\n', "has sed; an object may have prompt, seed"),
        ("p.jsonl", '{"prompt": "a", "seed": "1"}\n', "seed in line 1 .* whole number"),
        ("p.jsonl", '{"prompt": "a", "seed": true}\n', "whole number"),
        ("p.jsonl", '{"prompt": "a", "name": 3}\n', "name in line 1 .* text"),
        ("p.jsonl", '{"prompt": "a", "name": "../x"}\n', "cannot be the name of a file"),
        ("p.jsonl", '{"prompt": "a", "name": "X"}\n{"prompt": "b", "name": "x"}\n', 'called "x"'),
    ],
)
def test_mistakes_name_the_line(tmp_path, name, text, words):
    with pytest.raises(UserError, match=words):
        read_prompts(written(tmp_path, text, name))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_prompts(tmp_path / "none.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00caf\xe9")
    with pytest.raises(UserError, match="not UTF-8"):
        read_prompts(tmp_path / "b.txt")


def test_images_of_a_prompt_follow_each_other():
    wanted = expand_prompts(["a", "b"], ["x", "y"], [1, 2, 3, 4], 2)
    assert wanted.prompts == ["a", "a", "b", "b"] and wanted.negatives == ["x", "x", "y", "y"]
    assert wanted.part(slice(1, 3)).seeds == [2, 3] and len(wanted) == 4


def test_seeds():
    assert image_seeds(5, 1) == [5]
    derived = image_seeds(5, 3)
    assert len(set(derived)) == 3 and derived[:2] == image_seeds(5, 2) and derived == image_seeds(5, 1, 3)


def test_seeds_of_numpy():
    assert image_seeds(np.int64(5), 3) == image_seeds(5, 3)
    seeds = image_seeds(np.array([1, 2], dtype=np.uint32), 2)
    assert seeds == [1, 2] and all(type(seed) is int for seed in seeds)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([], "", 0, 1), "no prompt"),
        (("a cat", "", 0, 1), r'pass \["a cat"\]'),
        ((["a"], ["x", "y"], 0, 1), "2 negative prompts for 1 prompts"),
        ((["a"], "", [1], 2), "1 seeds for 2 images"),
        ((["a"], "", 0, 0), "images_per_prompt=0"),
        ((["a"], "", 1.5, 1), "seed 1.5: give a whole number"),
        ((["a", "b"], "", [1, 2.5], 1), "seed 2.5"),
    ],
)
def test_mistakes(arguments, words):
    with pytest.raises(UserError, match=words):
        expand_prompts(*arguments)
