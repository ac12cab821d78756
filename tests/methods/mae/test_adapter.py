"""Official checkpoints of MAE become our folders: encoder alone, with decoder, fine-tuned."""

import pytest
import torch

from mimgen.checkpoints.convert import convert
from mimgen.checkpoints.official import OfficialModel
from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import VitEncoder, mae_vit
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.mae.adapter import ADAPTER
from mimgen.types import SampleRNG

SIZES = {"image_size": 16, "patch": 4, "width": 64, "depth": 2, "heads": 1}


def official(encoder, decoder=None):
    """The state dict under the names of the release."""
    named = dict(encoder.state_dict())
    for key, value in (decoder.state_dict() if decoder else {}).items():
        named[key if key == "mask_token" else f"decoder_{key}"] = value
    return named


def saved(path, tensors):
    torch.save({"model": tensors}, path)
    return path


def test_encoder_and_decoder_come_over_whole(tmp_path):
    torch.manual_seed(0)
    encoder, decoder = mae_vit(**SIZES), MaeDecoder(16, 4, 64, 32, 1, 1)
    target = convert(ADAPTER, saved(tmp_path / "whole.pth", official(encoder, decoder)), tmp_path / "made")
    ours, again = VitEncoder.from_pretrained(target), MaeDecoder.from_pretrained(target / "decoder")
    images = torch.rand(2, 3, 16, 16)
    mask = Random()((4, 4), SampleRNG([0, 1]))
    output = decoder.eval()(encoder.eval()(images, mask), mask)
    assert torch.equal(again(ours(images, mask), mask), output)


def test_an_encoder_alone_and_a_fine_tuned_one(tmp_path):
    torch.manual_seed(0)
    alone = mae_vit(**SIZES).eval()
    target = convert(ADAPTER, saved(tmp_path / "encoder.pth", official(alone)), tmp_path / "a")
    assert not (target / "decoder").exists()
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(VitEncoder.from_pretrained(target)(images).patches, alone(images).patches)
    tuned = VitEncoder(**SIZES, pool="mean", classes=5).eval()
    target = convert(ADAPTER, saved(tmp_path / "tuned.pth", official(tuned)), tmp_path / "b")
    assert torch.equal(VitEncoder.from_pretrained(target).classify(images), tuned.classify(images))


def test_heads_follow_from_the_width_or_the_config():
    tensors = official(mae_vit(**SIZES), MaeDecoder(16, 4, 64, 32, 1, 1))
    assert ADAPTER.arguments({}, tensors)["heads"] == 1
    reported = ADAPTER.arguments({"num_heads": 4, "decoder_num_heads": 2}, tensors)
    assert reported["heads"] == 4 and reported["decoder"]["heads"] == 2
    assert isinstance(ADAPTER.make(reported, tensors), OfficialModel)


def test_what_is_missing_is_listed(tmp_path):
    tensors = official(mae_vit(**SIZES), MaeDecoder(16, 4, 64, 32, 1, 1))
    del tensors["decoder_norm.bias"]
    with pytest.raises(UserError, match=r"missing decoder\.norm\.bias"):
        convert(ADAPTER, saved(tmp_path / "x.pth", tensors), tmp_path / "made")
    with pytest.raises(UserError, match="is not mae"):
        convert(ADAPTER, saved(tmp_path / "y.pth", {"weight": torch.zeros(2)}), tmp_path / "made")
