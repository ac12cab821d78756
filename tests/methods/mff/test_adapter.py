"""MMPretrain's checkpoints of MFF become our folders, and names go to ours."""

from pathlib import Path

import pytest
import torch

from mimgen.checkpoints.convert import convert
from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.mff.adapter import ADAPTER
from mimgen.methods.mff.fusion import LayerFusion
from mimgen.types import SampleRNG
from tests.parity.cases import load_case
from tests.parity.replays.mff import objective_of

CASE = Path(__file__).parents[2] / "parity" / "cases" / "mff" / "three_levels.safetensors"
HEADS = {"num_heads": 4, "decoder_num_heads": 3}


@pytest.fixture(scope="module")
def case():
    return load_case(CASE)


def saved(path, tensors):
    torch.save({"state_dict": tensors, "args": HEADS}, path)
    return path


def test_names():
    assert ADAPTER.our_key("backbone.layers.3.ffn.layers.0.0.weight") == "encoder.blocks.3.mlp.fc1.weight"
    assert ADAPTER.our_key("backbone.ln1.bias") == "encoder.norm.bias"
    assert ADAPTER.our_key("neck.decoder_blocks.0.ln2.bias") == "decoder.blocks.0.norm2.bias"
    assert ADAPTER.our_key("neck.ln1.weight") == "decoder.norm.weight"
    assert ADAPTER.our_key("backbone.proj_weights") == "fusion.weights"


def test_a_pretrained_network_comes_over_whole(case, tmp_path):
    target = convert(ADAPTER, saved(tmp_path / "w.pth", dict(case.weights)), tmp_path / "made")
    mask = Random()((4, 4), SampleRNG([0, 1]))
    recorded = objective_of(case, mask).eval()
    ours, decoder = VitEncoder.from_pretrained(target), MaeDecoder.from_pretrained(target / "decoder")
    fusion = LayerFusion.from_pretrained(target / "fusion")
    assert torch.equal(fusion.shares, recorded.fusion.shares)
    assert (ours.blocks[0].attn.heads, decoder.blocks[0].attn.heads) == (4, 3)
    for name, value in recorded.encoder.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)
    tokens = recorded.fused(case.inputs["imgs"], mask)
    assert torch.equal(decoder(tokens, mask), recorded.decoder(tokens, mask))


def test_an_encoder_alone(case, tmp_path):
    tensors = {key: value for key, value in case.weights.items() if "backbone" in key and "proj_" not in key}
    target = convert(ADAPTER, saved(tmp_path / "w.pth", tensors), tmp_path / "made")
    assert VitEncoder.from_pretrained(target).depth == 4
    assert not (target / "fusion").exists() and not (target / "decoder").exists()


def test_what_is_missing_is_listed(case, tmp_path):
    tensors = dict(case.weights)
    del tensors["backbone.proj_layers.1.bias"]
    with pytest.raises(UserError, match=r"missing fusion\.proj\.1\.bias"):
        convert(ADAPTER, saved(tmp_path / "w.pth", tensors), tmp_path / "made")
