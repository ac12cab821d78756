"""Official checkpoints of DMJD become our folders: with both branches, and the encoder alone."""

from pathlib import Path

import pytest
import torch

from mimgen.checkpoints.convert import convert
from mimgen.decoders.mae import MaeDecoder
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.dmjd.adapter import ADAPTER
from mimgen.methods.dmjd.branch import VisibleBranch
from mimgen.methods.dmjd.encoder import ConvVitEncoder
from mimgen.types import SampleRNG
from tests.parity.cases import load_case

CASE = Path(__file__).parents[2] / "parity" / "cases" / "dmjd" / "rand_smooth_l2.safetensors"


@pytest.fixture(scope="module")
def weights():
    return dict(load_case(CASE).weights)


def saved(path, tensors):
    torch.save({"model": tensors, "args": {"num_heads": 3, "decoder_num_heads": 4}}, path)
    return path


def test_both_branches_come_over(weights, tmp_path):
    target = convert(ADAPTER, saved(tmp_path / "w.pth", weights), tmp_path / "made")
    encoder = ConvVitEncoder.from_pretrained(target)
    assert (encoder.grid, encoder.patch, encoder.dim) == ((14, 14), 16, 24)
    mask = Random()((4, 4), SampleRNG([0, 1]))
    tokens = encoder(torch.rand(2, 3, 64, 64), mask)
    assert MaeDecoder.from_pretrained(target / "decoder")(tokens, mask).shape == (2, 16, 12)
    visible = VisibleBranch.from_pretrained(target / "visible")
    assert visible(tokens).shape == (2, 4, 12)
    assert torch.equal(visible.projector[3].weight, weights["proj_embed.3.weight"])
    assert torch.equal(encoder.blocks1[0].attn.weight, weights["blocks1.0.attn.weight"])


def test_an_encoder_alone(weights, tmp_path):
    pretraining = ("decoder_", "mask_token", "proj_embed", "predictor")
    tensors = {key: value for key, value in weights.items() if not key.startswith(pretraining)}
    target = convert(ADAPTER, saved(tmp_path / "w.pth", tensors), tmp_path / "made")
    assert ConvVitEncoder.from_pretrained(target).depth == 2
    assert not (target / "decoder").exists() and not (target / "visible").exists()


def test_what_is_missing_is_listed(weights, tmp_path):
    tensors = {key: value for key, value in weights.items() if key != "predictor.0.bias"}
    with pytest.raises(UserError, match=r"missing visible\.predictor\.0\.bias"):
        convert(ADAPTER, saved(tmp_path / "w.pth", tensors), tmp_path / "made")
    with pytest.raises(UserError, match="is not dmjd"):
        convert(ADAPTER, saved(tmp_path / "y.pth", {"weight": torch.zeros(2)}), tmp_path / "b")
