"""Releases of A2MIM, SatVision-TOA and HAP: what a checkpoint holds becomes our parts, tensor for tensor."""

from pathlib import Path

import pytest
import torch

from mimgen.checkpoints.convert import convert
from mimgen.decoders.mae import LinearDecoder, MaeDecoder
from mimgen.encoders.resnet import ResNetEncoder
from mimgen.encoders.swin_v2 import SwinV2Encoder
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.methods.a2mim import adapter as a2mim
from mimgen.methods.hap import adapter as hap
from mimgen.methods.satvision_toa import adapter as satvision
from tests.parity.cases import load_case

CASES = Path(__file__).parents[1] / "parity" / "cases"


def official(system):
    return load_case(next((CASES / system).glob("*.safetensors"))).weights


def standard(tensors):
    """The tensors of a case with the shape that counters have in real checkpoints."""
    return {key: value.reshape(()) if "num_batches" in key else value for key, value in tensors.items()}


def test_satvision(tmp_path):
    tensors = official("satvision")
    torch.save({"state_dict": tensors}, tmp_path / "w.pth")
    convert(satvision.ADAPTER, tmp_path / "w.pth", tmp_path / "out")
    encoder = SwinV2Encoder.from_pretrained(tmp_path / "out")
    assert (encoder.depth, encoder.patch, len(encoder.mean)) == (4, 8, 14)
    assert torch.equal(encoder.norm.weight, tensors["encoder.norm.weight"])
    assert encoder(torch.rand(1, 14, 32, 32)).grid == (4, 4)
    decoder = LinearDecoder.from_pretrained(tmp_path / "out" / "decoder")
    assert torch.equal(decoder.decoder.weight, tensors["decoder.0.weight"])
    alone = {key: value for key, value in tensors.items() if not key.startswith("decoder")}
    torch.save(alone, tmp_path / "alone.pth")
    convert(satvision.ADAPTER, tmp_path / "alone.pth", tmp_path / "alone")
    assert not (tmp_path / "alone" / "decoder").exists()


def test_hap_has_upright_grids(tmp_path):
    tensors = official("hap")
    torch.save({"model": tensors}, tmp_path / "w.pth")
    convert(hap.ADAPTER, tmp_path / "w.pth", tmp_path / "out")
    encoder = VitEncoder.from_pretrained(tmp_path / "out")
    decoder = MaeDecoder.from_pretrained(tmp_path / "out" / "decoder")
    assert encoder.grid == decoder.grid == (8, 4)
    assert torch.equal(encoder.pos_embed, tensors["pos_embed"])
    assert [hap.grid_of(count) for count in (128, 32, 196)] == [(16, 8), (8, 4), (14, 14)]


@pytest.mark.parametrize("gain", [0.0, 1e-6])
def test_a2mim_of_a_standard_resnet(tmp_path, gain):
    torch.manual_seed(0)
    encoder, decoder = ResNetEncoder(50, 8, 2, gain=gain), LinearDecoder(64, 32, 32)
    tensors = {f"backbone.{key}": value for key, value in encoder.state_dict().items()}
    tensors = {key.replace("token_gain", "mask_gamma"): value for key, value in tensors.items()}
    tensors |= {f"neck.decoder_pred.0.{name}": value for name, value in decoder.decoder.state_dict().items()}
    torch.save({"state_dict": tensors}, tmp_path / "w.pth")
    convert(a2mim.ADAPTER, tmp_path / "w.pth", tmp_path / "out")
    again = ResNetEncoder.from_pretrained(tmp_path / "out")
    assert (again.depth, again.mask_stage, again.mask_patch, again.patch) == (16, 3, 16, 32)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in encoder.state_dict().items())
    assert LinearDecoder.from_pretrained(tmp_path / "out" / "decoder").stride == 32


def test_a2mim_reads_the_names_of_the_case():
    tensors = standard(official("a2mim"))
    assert (a2mim.layers_of(tensors), a2mim.inputs_of_stages(tensors)) == (18, [4, 4, 8, 16])
    found = a2mim.arguments({"replace": True}, tensors)
    assert (found["mask_stage"], found["replace"], found["decoder"]["stride"]) == (2, True, 16)
    own = a2mim.ADAPTER.make(found, tensors).state_dict()
    named = {a2mim.ADAPTER.our_key(key): value.shape for key, value in tensors.items()}
    assert named == {key: value.shape for key, value in own.items()}


def test_other_files_are_refused(tmp_path):
    torch.save({"quantize.weight": torch.zeros(2, 2)}, tmp_path / "w.pth")
    for module in (a2mim, hap, satvision):
        with pytest.raises(UserError):
            convert(module.ADAPTER, tmp_path / "w.pth", tmp_path / "out")
    assert not (tmp_path / "out").exists()
