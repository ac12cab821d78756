"""Saved modules: arguments remembered, the class found again, strict loading, clear errors."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mimgen import pretrained
from mimgen.encoders import ByteTextEncoder, Encoder, VitEncoder
from mimgen.errors import UserError
from mimgen.generators import MeissonicTransformer
from mimgen.pretrained import WEIGHTS, PretrainedModule, class_of, load_pretrained
from mimgen.tokenizers import ConvTokenizer, Tokenizer


class Small(PretrainedModule):
    def __init__(self, width: int = 3, levels: tuple[int, ...] = (1, 2)) -> None:
        super().__init__()
        self.line = nn.Linear(width, width)
        self.register_buffer("count", torch.tensor(7))


def test_arguments_and_weights_come_back(tmp_path: Path) -> None:
    part = Small(4, levels=(5, 6))
    assert part.config == {"width": 4, "levels": (5, 6)}
    part.save_pretrained(tmp_path)
    loaded = Small.from_pretrained(tmp_path)
    assert loaded.config == part.config and not loaded.training
    assert torch.equal(loaded.line.weight, part.line.weight) and loaded.count == 7
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", f"{WEIGHTS}.safetensors"]


@pytest.mark.parametrize(
    "part",
    [
        ConvTokenizer(
            channels=8, multipliers=(1,), blocks=1, stem=4, quantizer="vq", codebook_size=8, latent=4
        ),
        ByteTextEncoder(width=8, depth=1, heads=2, max_words=3, buckets=16),
        MeissonicTransformer(1, 1, 8, 2, 8, 16, pooled_text_dim=8, vocab_size=9, codebook_size=8),
    ],
    ids=lambda part: type(part).__name__,
)
def test_every_part_round_trips(part: PretrainedModule, tmp_path: Path) -> None:
    part.save_pretrained(tmp_path)
    loaded = type(part).from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in part.state_dict().items())


def test_short_numbers_on_disk_are_read_as_float32(tmp_path: Path) -> None:
    part = Small()
    part.save_pretrained(tmp_path, dtype=torch.bfloat16)
    stored = load_file(tmp_path / f"{WEIGHTS}.safetensors")
    assert stored["line.weight"].dtype == torch.bfloat16 and stored["count"].dtype == torch.int64
    loaded = Small.from_pretrained(tmp_path)
    assert loaded.dtype == torch.float32
    torch.testing.assert_close(loaded.line.weight, part.line.weight, atol=1e-2, rtol=1e-2)


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        Small.from_pretrained(tmp_path)
    Small().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="holds a Small"):
        ConvTokenizer.from_pretrained(tmp_path)
    (tmp_path / f"{WEIGHTS}.safetensors").unlink()
    with pytest.raises(UserError, match="complete"):
        Small.from_pretrained(tmp_path)


def test_keys_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    Small(3).save_pretrained(tmp_path)
    weights = load_file(tmp_path / f"{WEIGHTS}.safetensors")
    weights["extra"] = weights.pop("line.bias")
    save_file(weights, tmp_path / f"{WEIGHTS}.safetensors")
    with pytest.raises(UserError, match=r"1 missing: line\.bias \[3\]; 1 unexpected: extra \[3\]"):
        Small.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"width": 5}))
    with pytest.raises(UserError, match=r"shape mismatch: line\.weight \[3, 3\] instead of \[5, 5\]"):
        Small.from_pretrained(tmp_path)


def small_vit() -> VitEncoder:
    return VitEncoder(16, 4, width=16, depth=1, heads=2)


def edit(folder: Path, **changes: Any) -> None:
    """Change fields of config.json; None removes one."""
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def test_the_folder_says_where_its_class_lies(tmp_path: Path) -> None:
    encoder = small_vit()
    encoder.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["_module"] == "mimgen.encoders.vit"
    for kind in (None, VitEncoder, Encoder, (ConvTokenizer, VitEncoder), (ConvTokenizer, Encoder)):
        loaded = load_pretrained(tmp_path, kind)
        assert type(loaded) is VitEncoder and torch.equal(loaded.pos_embed, encoder.pos_embed)


def test_folders_from_before_that_and_of_official_names(tmp_path: Path) -> None:
    small_vit().save_pretrained(tmp_path)
    for module in (None, "mimgen.encoders.where_it_lay_before"):
        edit(tmp_path, _module=module)
        assert class_of(tmp_path) is VitEncoder
    edit(tmp_path, _class_name=None, architectures=["CLIPTextModelWithProjection"])
    assert class_of(tmp_path).__name__ == "ClipTextEncoder"


@pytest.mark.parametrize("name", sorted(pretrained._KNOWN))
def test_the_table_names_classes_that_exist(name: str) -> None:
    module, _, kind = pretrained._KNOWN[name].partition(":")
    found = getattr(importlib.import_module(module), kind)
    assert callable(found.from_pretrained) and callable(found.save_pretrained)


def test_only_saved_modules_of_mimgen_are_imported(tmp_path: Path) -> None:
    small_vit().save_pretrained(tmp_path)
    for module, name in (
        ("os", "PathLike"), ("mimgen.errors", "UserError"), ("mimgen.types", "np"), ("mimgen.nowhere", "X"), ("", "?"),
    ):  # fmt: skip
        edit(tmp_path, _module=module, _class_name=name)
        with pytest.raises(UserError, match="does not know"):
            load_pretrained(tmp_path)


def test_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    small_vit().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"holds a VitEncoder: as vqvae a ConvTokenizer is needed"):
        load_pretrained(tmp_path, ConvTokenizer, role="vqvae")
    with pytest.raises(UserError, match=r"as model a Tokenizer or ConvTokenizer is needed"):
        load_pretrained(tmp_path, (Tokenizer, ConvTokenizer))
    (tmp_path / f"{WEIGHTS}.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match="is it complete"):
        load_pretrained(tmp_path)
    for content in ("{", "[]"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(UserError, match="not the JSON"):
            load_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match=r"no config\.json"):
        load_pretrained(tmp_path)


def test_it_is_a_public_name_that_costs_nothing(tmp_path: Path) -> None:
    small_vit().save_pretrained(tmp_path)
    code = (
        "import sys, mimgen; assert 'torch' not in sys.modules; from mimgen import load_pretrained; "
        f"print(type(load_pretrained({str(tmp_path)!r})).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "VitEncoder"
