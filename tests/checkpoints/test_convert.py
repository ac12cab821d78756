"""Reading and converting official releases: layouts, strictness, atomic folders, safe unpickling."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.convert import convert
from mimgen.checkpoints.keys import KeyMap
from mimgen.checkpoints.read import read_checkpoint
from mimgen.errors import UserError
from mimgen.pretrained import PretrainedModule
from mimgen.recipes.releases import releases


class Toy(PretrainedModule):
    """A part with two tensors."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.enc = nn.Linear(width, width)


ADAPTER = StateDictAdapter(
    name="toy",
    about="a toy",
    kind=Toy,
    arguments=lambda config, tensors: {"width": config.get("width", tensors["old.enc.weight"].shape[0])},
    keys=KeyMap(("old.*", "*")),
    ignored={"loss.*": "of training"},
)


def official(width: int = 3, value: float = 1.0) -> dict[str, Tensor]:
    return {
        "old.enc.weight": torch.full((width, width), value),
        "old.enc.bias": torch.full((width,), value),
        "loss.logit": torch.zeros(1),
    }


def first(folder: Path) -> float:
    return float(load_file(folder / "diffusion_pytorch_model.safetensors")["enc.bias"][0])


@pytest.mark.parametrize(
    "layout",
    [
        lambda t: t,
        lambda t: {"state_dict": t, "epoch": 3, "hyper_parameters": {"width": 3}},
        lambda t: {"model": t, "args": argparse.Namespace(width=3)},
        lambda t: {"model": {"state_dict": t}},
        lambda t: {"state_dict": {f"module.{key}": value for key, value in t.items()}},
    ],
)
def test_pickled_layouts(tmp_path: Path, layout) -> None:
    torch.save(layout(official()), tmp_path / "w.ckpt")
    convert(ADAPTER, tmp_path / "w.ckpt", tmp_path / "out")
    assert first(tmp_path / "out") == 1.0
    assert Toy.from_pretrained(tmp_path / "out").enc.in_features == 3
    assert "sha256" in (tmp_path / "out" / "README.md").read_text()
    assert not list(tmp_path.glob(".*tmp"))


def test_folder_with_config_and_half_precision(tmp_path: Path) -> None:
    source = tmp_path / "release"
    source.mkdir()
    save_file({key: value.half() for key, value in official().items()}, source / "model.safetensors")
    (source / "config.yaml").write_text("width: 3\n")
    assert read_checkpoint(source).config == {"width": 3}
    convert(ADAPTER, source, tmp_path / "out")
    assert load_file(tmp_path / "out" / "diffusion_pytorch_model.safetensors")["enc.bias"].dtype == torch.float16


def test_shards(tmp_path: Path) -> None:
    tensors = official()
    save_file({"old.enc.weight": tensors["old.enc.weight"]}, tmp_path / "a.safetensors")
    save_file({"old.enc.bias": tensors["old.enc.bias"]}, tmp_path / "b.safetensors")
    index = {"weight_map": {"old.enc.weight": "a.safetensors", "old.enc.bias": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_checkpoint(tmp_path).tensors.keys() == index["weight_map"].keys()


def test_averaged_weights_must_be_chosen(tmp_path: Path) -> None:
    torch.save({"model": official(), "ema": official(value=2.0)}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="--weights ema"):
        convert(ADAPTER, tmp_path / "w.pt", tmp_path / "out")
    convert(ADAPTER, tmp_path / "w.pt", tmp_path / "ema", weights="ema")
    convert(ADAPTER, tmp_path / "w.pt", tmp_path / "model", weights="model")
    assert (first(tmp_path / "ema"), first(tmp_path / "model")) == (2.0, 1.0)
    torch.save({"model": official()}, tmp_path / "one.pt")
    with pytest.raises(UserError, match="holds no ema weights"):
        convert(ADAPTER, tmp_path / "one.pt", tmp_path / "out", weights="ema")


def test_averages_kept_under_names_without_dots(tmp_path: Path) -> None:
    average = {"model_ema.oldencweight": torch.full((3, 3), 5.0), "model_ema.oldencbias": torch.full((3,), 5.0)}
    torch.save({"state_dict": {**official(), **average, "model_ema.decay": torch.tensor(0.9)}}, tmp_path / "w.ckpt")
    convert(ADAPTER, tmp_path / "w.ckpt", tmp_path / "out", weights="ema")
    assert first(tmp_path / "out") == 5.0


def test_every_difference_is_listed_and_nothing_is_left(tmp_path: Path) -> None:
    tensors = official()
    tensors["old.enc.bias"] = torch.zeros(4)
    tensors["old.more"] = torch.zeros(1)
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(UserError) as caught:
        convert(ADAPTER, tmp_path / "w.safetensors", tmp_path / "out")
    assert "unexpected more [1]" in str(caught.value)
    assert "shape mismatch enc.bias [4] instead of [3]" in str(caught.value)
    assert not (tmp_path / "out").exists()
    many = {f"extra.{i}": torch.zeros(1) for i in range(30)}
    save_file({"old.enc.weight": torch.zeros(3, 3), **many}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="and 11 more; all of them"):
        convert(ADAPTER, tmp_path / "w.safetensors", tmp_path / "out")
    lines = (tmp_path / "out.keys.txt").read_text().splitlines()
    assert len(lines) == 31
    assert "missing enc.bias [3]" in lines
    assert not (tmp_path / "out").exists()


class Evil:
    """Runs code when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("evil"),)


def test_objects_are_refused_by_name(tmp_path: Path) -> None:
    torch.save({"model": official(), "thing": Evil()}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"objects other than tensors.*pathlib\.Path"):
        convert(ADAPTER, tmp_path / "w.pth", tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is not a file of weights"), (b"not a checkpoint at all", "is not a file of weights")],
)
def test_broken_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_checkpoint(tmp_path / "w.pt")
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="not a safetensors file"):
        read_checkpoint(tmp_path / "w.safetensors")


def test_other_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        read_checkpoint(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no weights"):
        read_checkpoint(tmp_path)
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="holds no state dict"):
        read_checkpoint(tmp_path / "w.pt")
    save_file({"other": torch.zeros(1)}, tmp_path / "v.safetensors")
    with pytest.raises(UserError, match="is not toy"):
        convert(ADAPTER, tmp_path / "v.safetensors", tmp_path / "out")
    with pytest.raises(UserError, match="several weights"):
        read_checkpoint(tmp_path)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(UserError, match="exists already"):
        convert(ADAPTER, tmp_path / "v.safetensors", tmp_path / "used")


def test_releases_are_found_where_they_lie() -> None:
    assert len(releases()) >= 27
    assert {"mae", "ibot", "itpn_clip", "kl16", "titok", "mage", "meissonic"} <= set(releases())


def test_a_tokenizer_is_no_release_of_another(tmp_path: Path) -> None:
    save_file({"quantize.embedding.weight": torch.zeros(4, 2)}, tmp_path / "w.safetensors")
    for release in releases().values():
        with pytest.raises(UserError):
            convert(release, tmp_path / "w.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()
