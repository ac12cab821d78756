"""Saved parts: arguments remembered, strict loading, nothing half-written, clear errors."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mimgen.encoders import ByteTextEncoder
from mimgen.errors import UserError
from mimgen.generators import MeissonicTransformer
from mimgen.pretrained import WEIGHTS, PretrainedModule
from mimgen.tokenizers import ConvTokenizer


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
    with pytest.raises(UserError, match=r"1 missing: line\.bias; 1 unexpected: extra"):
        Small.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"width": 5}))
    with pytest.raises(UserError, match=r"shape mismatch: line\.weight \[3, 3\] instead of \[5, 5\]"):
        Small.from_pretrained(tmp_path)
