"""One contract for every release: official -> ours -> official is the identity, and sizes follow from the tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.convert import convert, revert
from mimgen.checkpoints.keys import KeyMap, matches
from mimgen.checkpoints.read import read_checkpoint
from mimgen.errors import UserError
from mimgen.recipes.releases import releases
from tests.parity.cases import load_case

RELEASES = releases()
VIT = {"image_size": 16, "patch": 4, "width": 64, "depth": 2, "heads": 1}
DECODER = {"image_size": 16, "patch": 4, "encoder_width": 64, "width": 32, "depth": 1, "heads": 1}
MAE = {**VIT, "decoder": DECODER}
HIVIT = {"image_size": 16, "patch": 4, "width": 64, "mlp_depths": (1, 1), "depth": 2, "heads": 1, "neck_width": 8}
PYRAMID = {"image_size": 16, "patch": 4, "pyramid_width": 8}
TITOK = {"image_size": 16, "tokens": 8, "patch": 4, "encoder": (64, 1, 1), "decoder": (64, 1, 1), "token_size": 4}
TRANSFORMER = {"num_layers": 1, "num_single_layers": 2, "attention_head_dim": 8, "num_attention_heads": 2}

# A small model of each release: constructor arguments, by what it holds. A name behind a colon tells variants apart.
SMALL: dict[str, dict[str, Any]] = {
    "a2mim": {"depth": 50, "stem": 8, "width": 2, "gain": 1e-6,
              "decoder": {"encoder_width": 64, "stride": 32, "patch": 32}},
    "beitv2_tokenizer": {"pixels": 32, "patch": 8, "width": 64, "depth": 1, "heads": 1, "codebook_size": 16},
    "cae": {"pixels": 16, "patch": 4, "width": 64, "depth": 2, "heads": 1,
            "decoder": {"output": 11, "encoder_width": 64, "width": 64, "regressor_depth": 2, "decoder_depth": 1,
                        "heads": 1}},
    "cae:alone": {"pixels": 16, "patch": 4, "width": 64, "depth": 2, "heads": 1},
    "croco": {**VIT, "decoder": {**DECODER, "width": 64}},
    "dmjd": {"image_size": 16, "patches": (2, 2, 1), "widths": (8, 8, 64), "depths": (1, 1, 2), "heads": 1,
             "decoder": {**DECODER, "prefix": 0}, "visible": {"encoder_width": 64, "width": 8, "output": 48}},
    "halton_maskgit": {"side": 4, "codebook_size": 9, "classes": 3, "width": 64, "depth": 2, "heads": 1, "hidden": 384},
    "hap": {**MAE, "image_size": (16, 8), "decoder": {**DECODER, "image_size": (16, 8)}},
    "hiendmae": {"image_size": (16, 16, 16), "patch": (4, 4, 4), "width": 96, "depth": 12, "heads": 1,
                 "decoder": {"cells": (4, 4, 4), "encoder_width": 96, "output": 64, "width": 48, "depth": 1,
                             "heads": 1}},
    "hpm": MAE,
    "hpm:token": {**MAE, "mask_token": "visible"},
    "ibot": {**VIT, "layer_scale": 0.1, "head": {"width": 64, "prototypes": 8, "hidden": 16, "bottleneck": 4}},
    "ibot:alone": {**VIT, "mask_token": "replace"},
    "ibot:one": {**VIT, "head": {"width": 64, "prototypes": 8, "hidden": 16, "bottleneck": 4, "layers": 1}},
    "itpn": {**HIVIT, "decoder": {**PYRAMID, "width": 32, "depth": 1, "heads": 1}},
    "itpn_clip": {**HIVIT, "mask_token": True, "relative": True, "layer_scale": 0.1,
                  "decoder": {**PYRAMID, "width": 64, "heads": 1, "output": 6}},
    "kl16": {"block_out_channels": (32, 64, 64), "layers_per_block": 2, "latent_channels": 4,
             "down_block_types": ("DownEncoderBlock2D", "DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
             "up_block_types": ("AttnUpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D")},
    "latentmim": {**VIT, "head_width": 8, "head_depth": 2, "decoder": DECODER},
    "llamagen": {"channels": 32, "multipliers": (1, 2), "decoder_multipliers": (1, 2), "blocks": 1, "z_channels": 32,
                 "codebook_size": 8, "code_dim": 4},
    "localmim": {**VIT, "decoders": [{**DECODER, "output": 27, "scale": scale} for scale in (4, 2)]},
    "lut": MAE,
    "mae": MAE,
    "mae:tuned": {**VIT, "pool": "mean", "classes": 5},
    "mage": {"side": 4, "codebook_size": 9, "width": 64, "depth": 2, "heads": 1, "decoder_width": 64,
             "decoder_depth": 1, "decoder_heads": 1},
    "meissonic": {**TRANSFORMER, "joint_attention_dim": 8, "pooled_projection_dim": 16, "pooled_text_dim": 8,
                  "vocab_size": 9, "codebook_size": 8, "downsample": True, "upsample": True},
    "mergevq": {"resolution": 32, "channels": 32, "multipliers": (1, 2), "blocks": (1, 1), "decoder_blocks": (1, 1),
                "bits": 4, "layers": 1, "heads": 1, "encoder_heads": 1, "decoder_layers": 1, "keep": 256,
                "candidates": None},
    "mff": {**MAE, "fusion": {"width": 64, "layers": 2}},
    "open_magvit2": {"channels": 32, "multipliers": (1, 2), "blocks": (1, 1), "bits": 4},
    "satvision": {"image_size": 32, "embed_patch": 2, "width": 32, "depths": (1, 2), "heads": (1, 2), "window": 4,
                  "channels": 5, "mean": (0.0,) * 5, "std": (1.0,) * 5,
                  "decoder": {"encoder_width": 64, "stride": 4, "patch": 2, "channels": 5}},
    "selectivemae": MAE,
    "titok": {**TITOK, "codebook_size": 8, "decoder_patch": 4},
    "titok:decoder.ffn.2.weight": {**TITOK, "codebook_size": 8, "classes": 6, "decoder_patch": 4},
    "titok_maskgit": {"codebook_size": 8, "length": 6, "classes": 3, "body": "bert", "width": 64, "depth": 2,
                      "heads": 4, "hidden": 32},
}  # fmt: skip

# what lets the arguments follow where a tiny network leaves no trace of them, or of heads
SAID: dict[str, dict[str, Any]] = {
    "croco": {"img_size": 16}, "satvision": {"encoder": {"img_size": 32}},
    "mergevq": {"ddconfig": {"resolution": 32, "merge_num": 0}},
}  # fmt: skip

# recorded systems whose weights are the official state dict of a release, and the prefix in front of them there
RECORDED = {
    "a2mim": "a2mim", "beitv2_tokenizer": "beitv2_tokenizer", "cae": "cae", "croco": "croco", "dmjd": "dmjd",
    "halton_maskgit": "halton_maskgit", "hap": "hap", "hiendmae": "hiendmae", "hpm": "hpm", "ibot": "ibot",
    "itpn": "itpn", "latentmim": "latentmim", "llamagen_vq": "llamagen", "localmim": "localmim", "lut": "lut",
    "mae": "mae", "mae_vit": "mae", "mage_train": "mage", "mage_sample": "mage", "mergevq": "mergevq", "mff": "mff",
    "satvision": "satvision", "selectivemae": "selectivemae", "titok": "titok", "titok_maskgit": "titok_maskgit",
}  # fmt: skip
CASES = [
    path
    for path in sorted((Path(__file__).parents[1] / "parity" / "cases").rglob("*.safetensors"))
    if load_case(path).system in RECORDED
]


def small(name: str) -> tuple[StateDictAdapter, torch.nn.Module]:
    """The release of `name` and a small module of ours with random numbers everywhere."""
    release, _, variant = name.partition(":")
    adapter = RELEASES[release]
    torch.manual_seed(0)
    module = adapter.make(SMALL[name], {variant: torch.zeros(1)}).eval()
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape))
    return adapter, module


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def kept(adapter: StateDictAdapter, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the tensors of which the way back restores a part only."""
    lost = tuple(shape.key for shape in adapter.reshapes if shape.lost)
    return {key: value for key, value in tensors.items() if not matches(lost, str(adapter.our_key(key)))}


def test_every_release_has_a_small_model() -> None:
    assert {name.partition(":")[0] for name in SMALL} == set(RELEASES)
    assert all(release.about for release in RELEASES.values())


@pytest.mark.parametrize("name", sorted(SMALL))
def test_there_and_back(name: str) -> None:
    adapter, module = small(name)
    official = adapter.to_official(module.state_dict())
    ours = adapter.from_official(official)
    assert equal(ours, module.state_dict())
    assert equal(adapter.to_official(ours), official)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_sizes_follow_from_the_tensors_and_folders_go_back(name: str, tmp_path: Path) -> None:
    adapter, module = small(name)
    official = adapter.to_official(module.state_dict())
    source, config = tmp_path / "official.pth", tmp_path / "said.json"
    config.write_text(json.dumps(SAID.get(name, {})))
    # the window of a Swin is read off a table that the release records, too, and we compute
    table = "encoder.layers.{}.blocks.0.attn.relative_coords_table"
    more = {table.format(stage): torch.zeros(1, 7, 7, 2) for stage in (0, 1)} if name == "satvision" else {}
    torch.save({"model": {**official, **more}}, source)
    folder = convert(adapter, source, tmp_path / "ours", config)
    assert equal(adapter.load(folder).state_dict(), module.state_dict())
    assert equal(read_checkpoint(revert(adapter, folder, tmp_path / "again.safetensors")).tensors, official)


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_recorded_weights_come_back(path: Path) -> None:
    case = load_case(path)
    weights = dict(case.weights)
    if case.system == "ibot":
        weights = {key.removeprefix("student."): value for key, value in weights.items() if key.startswith("student.")}
    adapter = RELEASES["itpn_clip" if "lm_head.weight" in weights else RECORDED[case.system]]
    official = adapter.canonical(weights)
    back = {key: value for key, value in adapter.to_official(adapter.from_official(weights)).items() if key in official}
    assert official.keys() == back.keys() and equal(kept(adapter, back), kept(adapter, official))
    assert all(value.shape == official[key].shape for key, value in back.items())


def test_a_folder_is_written_in_the_official_layout(tmp_path: Path) -> None:
    adapter, module = small("mae")
    official = adapter.to_official(module.state_dict())
    torch.save({"model": official}, tmp_path / "official.pth")
    folder = convert(adapter, tmp_path / "official.pth", tmp_path / "ours")
    for ending in ("safetensors", "pth"):
        written = revert(adapter, folder, tmp_path / f"again.{ending}")
        assert equal(read_checkpoint(written).tensors, official)
    with pytest.raises(UserError, match="exists already"):
        revert(adapter, folder, tmp_path / "again.pth")
    with pytest.raises(UserError, match="name a file ending in"):
        revert(adapter, folder, tmp_path / "again")
    with pytest.raises(UserError, match="holds a VitEncoder: llamagen is a LlamaGenVQ"):
        revert(RELEASES["llamagen"], folder, tmp_path / "other.pth")


def test_half_precision_stays_half(tmp_path: Path) -> None:
    adapter, module = small("mff")
    official = {key: value.half() for key, value in adapter.to_official(module.state_dict()).items()}
    torch.save(official, tmp_path / "half.pth")
    folder = convert(adapter, tmp_path / "half.pth", tmp_path / "ours")
    assert (folder / "fusion" / "config.json").is_file()
    assert equal(read_checkpoint(revert(adapter, folder, tmp_path / "again.pth")).tensors, official)


def test_templates() -> None:
    keys = KeyMap(("norm.#.*", "taps.#.norm.*"), ("*", "encoder.*"), also=(("model.*", "encoder.*"),))
    for official, ours in (("norm.0.bias", "taps.0.norm.bias"), ("norm.bias", "encoder.norm.bias")):
        assert keys.ours(official) == ours and keys.official(ours) == official
    assert keys.ours("model.norm.bias") == "encoder.norm.bias"
    with pytest.raises(ValueError, match="different signs"):
        KeyMap(("a.*", "b.#"))


def test_what_cannot_come_back_is_refused() -> None:
    adapter, module = small("mae")
    foreign = {**module.state_dict(), "decoder.encoder.bias": torch.zeros(1), "neck.bias": torch.zeros(1)}
    with pytest.raises(UserError, match=r"neck\.bias is no tensor of mae"):
        adapter.to_official(foreign)
