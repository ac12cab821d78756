"""Released VQ-KD tokenizers become parts of ours."""

import argparse
import json

import pytest
import torch

from mimgen.checkpoints.convert import convert
from mimgen.errors import UserError
from mimgen.tokenizers.vqkd.adapter import ADAPTER
from mimgen.tokenizers.vqkd.model import VqKd


def release(**options):
    """A small model and its weights as they are distributed, with what only training used."""
    torch.manual_seed(0)
    model = VqKd(32, 8, codebook_size=16, code_dim=6, **options).eval()
    model.quantize.embedding.initted.fill_(1)
    extra = {"teacher_model.w": torch.zeros(2), "scaling_layer.shift": torch.zeros(3), "loss_fn.w": torch.zeros(1)}
    return model, {"model": {**model.state_dict(), **extra}, "args": argparse.Namespace(lr=1e-3, beta=7), "epoch": 9}


def same(model, folder):
    made = VqKd.from_pretrained(folder)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    codes = model.encode(images)
    assert torch.equal(made.encode(images).indices, codes.indices)
    torch.testing.assert_close(made.features(codes), model.features(codes))
    return made


def test_sizes_are_read_from_the_tensors(tmp_path):
    model, checkpoint = release(
        width=128, depth=2, heads=2, decoder_width=64, decoder_depth=1, decoder_heads=1, feature_dim=10
    )
    torch.save(checkpoint, tmp_path / "vqkd.pth")
    made = same(model, convert(ADAPTER, tmp_path / "vqkd.pth", tmp_path / "made"))
    assert made.config["commitment"] == 1.0
    assert bool(made.quantize.embedding.initted)


def test_heads_of_a_configuration(tmp_path):
    model, checkpoint = release(width=16, depth=1, heads=4, decoder_depth=1, feature_dim=10, decay=0.9)
    torch.save({"model": checkpoint["model"]}, tmp_path / "vqkd.pth")
    official = {"n_embed": 16, "decay": 0.9, "encoder": {"num_heads": 4}, "decoder": {"num_heads": 4}}
    (tmp_path / "config.json").write_text(json.dumps(official))
    made = same(model, convert(ADAPTER, tmp_path / "vqkd.pth", tmp_path / "made", tmp_path / "config.json"))
    assert made.config["decay"] == 0.9


def test_a_file_of_something_else_is_named(tmp_path):
    _, checkpoint = release(width=64, depth=1, heads=1, decoder_depth=1, feature_dim=10)
    torch.save({"model": {"decoder.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="VQ-KD"):
        convert(ADAPTER, tmp_path / "other.pth", tmp_path / "made")
    checkpoint["model"]["encoder.rel_pos_bias.relative_position_bias_table"] = torch.zeros(52, 1)
    torch.save(checkpoint, tmp_path / "vqkd.pth")
    with pytest.raises(UserError, match=r"unexpected encoder\.rel_pos_bias"):
        convert(ADAPTER, tmp_path / "vqkd.pth", tmp_path / "made")
