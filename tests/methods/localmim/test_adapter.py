"""Official checkpoints of LocalMIM become our folders: with decoders, alone, fine-tuned."""

import re

import pytest
import torch

from mimgen.checkpoints.convert import convert
from mimgen.encoders.taps import tap
from mimgen.encoders.vit import VitEncoder, mae_vit
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.localmim.adapter import ADAPTER
from mimgen.methods.localmim.decoders import SCALES, LocalDecoder
from mimgen.types import SampleRNG

SIZES = {"image_size": 16, "patch": 4, "width": 64, "depth": 4, "heads": 1}


def official(encoder, decoders=()):
    """The state dict under the names of the release."""
    named = dict(encoder.state_dict())
    if decoders:
        named = {key: value for key, value in named.items() if not key.startswith("norm.")}
    for position, decoder in enumerate(decoders):
        for key, value in decoder.state_dict().items():
            if key.startswith("tap_norm."):
                named[f"norm.{position}.{key.removeprefix('tap_norm.')}"] = value
            else:
                named[f"decoder.{position}.{re.sub('^cells', 'pred', key)}"] = value
        named[f"hog_enc.{position}.conv.weight"] = torch.zeros(2, 1, 3, 3)
        named[f"hog_enc.{position}.conv.bias"] = torch.zeros(2)
    return named


def saved(path, tensors):
    torch.save({"model": tensors}, path)
    return path


def test_encoder_and_decoders_come_over_whole(tmp_path):
    torch.manual_seed(0)
    encoder, decoders = mae_vit(**SIZES).eval(), [LocalDecoder(16, 4, 64, 32, 1, 1, 27, s).eval() for s in SCALES]
    target = convert(ADAPTER, saved(tmp_path / "whole.pth", official(encoder, decoders)), tmp_path / "made")
    ours, images = VitEncoder.from_pretrained(target), torch.rand(2, 3, 16, 16)
    mask = Random()((4, 4), SampleRNG([0, 1]))
    levels = zip(tap(encoder, images, mask, range(4)), tap(ours, images, mask, range(4)), decoders, strict=True)
    for position, (theirs, again, decoder) in enumerate(levels):
        made = LocalDecoder.from_pretrained(target / f"decoders_{position}")
        assert torch.equal(decoder(theirs, mask), made(again, mask))
    # the last norm is a fresh one
    assert torch.equal(ours.norm.weight, torch.ones(64)) and not ours.norm.bias.any()


def test_an_encoder_alone_with_and_without_a_norm(tmp_path):
    torch.manual_seed(0)
    tuned = VitEncoder(**SIZES, pool="mean", classes=5).eval()
    images = torch.rand(2, 3, 16, 16)
    target = convert(ADAPTER, saved(tmp_path / "tuned.pth", official(tuned)), tmp_path / "a")
    assert torch.equal(VitEncoder.from_pretrained(target).classify(images), tuned.classify(images))
    alone = mae_vit(**SIZES).eval()
    tensors = {key: value for key, value in official(alone).items() if not key.startswith("norm.")}
    target = convert(ADAPTER, saved(tmp_path / "alone.pth", tensors), tmp_path / "b")
    assert not list(target.glob("decoders_*"))
    assert torch.equal(VitEncoder.from_pretrained(target)(images).patches, alone(images).patches)


def test_what_is_missing_is_listed(tmp_path):
    tensors = official(mae_vit(**SIZES), [LocalDecoder(16, 4, 64, 32, 1, 1, 27, s) for s in SCALES])
    del tensors["norm.2.bias"]
    with pytest.raises(UserError, match=r"missing decoders\.2\.tap_norm\.bias"):
        convert(ADAPTER, saved(tmp_path / "x.pth", tensors), tmp_path / "made")
    with pytest.raises(UserError, match="is not localmim"):
        convert(ADAPTER, saved(tmp_path / "y.pth", {"weight": torch.zeros(2)}), tmp_path / "made")
