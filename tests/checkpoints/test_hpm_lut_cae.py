"""Official checkpoints of HPM, LUT and CAE become our folders: encoder alone and with what belongs to pretraining."""

import re

import pytest
import torch

from mimgen.checkpoints.convert import convert
from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import VitEncoder, mae_vit
from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.methods.cae import adapter as cae
from mimgen.methods.cae.networks import CaeDecoder, CaeEncoder
from mimgen.methods.hpm import adapter as hpm
from mimgen.methods.hpm.networks import LossPredictor
from mimgen.methods.lut import adapter as lut
from mimgen.methods.lut.projection import projection_head
from mimgen.types import SampleRNG

SIZES = {"image_size": 16, "patch": 4, "width": 64, "depth": 2, "heads": 1}
IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
MASK = Block(8, 2)((4, 4), SampleRNG([0, 1]))


def saved(path, tensors):
    torch.save({"model": tensors, "epoch": 3}, path)
    return path


def with_decoder(encoder, decoder):
    """State dict under the names of MAE's family."""
    # HPM's token of visible patches has a name of its own, MAE's is the decoder's
    named = {"vis_" * (key == "mask_token") + key: value for key, value in encoder.state_dict().items()}
    for key, value in decoder.state_dict().items():
        named[key if key == "mask_token" else f"decoder_{key}"] = value
    return named


@pytest.mark.parametrize("mask_token", [None, "visible"])
def test_hpm(mask_token, tmp_path):
    torch.manual_seed(0)
    encoder, decoder = VitEncoder(**SIZES, mask_token=mask_token).eval(), LossPredictor(16, 4, 64, 32, 1, 1).eval()
    target = convert(hpm.ADAPTER, saved(tmp_path / "hpm.pth", with_decoder(encoder, decoder)), tmp_path / "made")
    ours, again = VitEncoder.from_pretrained(target), LossPredictor.from_pretrained(target / "decoder")
    output, expected = again.predict(ours(IMAGES, MASK), MASK), decoder.predict(encoder(IMAGES, MASK), MASK)
    assert torch.equal(output.patches, expected.patches) and torch.equal(output.losses, expected.losses)
    official = {"vis_" * (key == "mask_token") + key: value for key, value in encoder.state_dict().items()}
    alone = convert(hpm.ADAPTER, saved(tmp_path / "alone.pth", official), tmp_path / "alone")
    assert torch.equal(VitEncoder.from_pretrained(alone)(IMAGES).patches, encoder(IMAGES).patches)
    assert not (alone / "decoder").exists()


@pytest.mark.parametrize("prefix", ["", "student."])
def test_lut(prefix, tmp_path):
    torch.manual_seed(0)
    encoder, decoder = mae_vit(**SIZES).eval(), MaeDecoder(16, 4, 64, 32, 1, 1).eval()
    tensors = {prefix + key: value for key, value in with_decoder(encoder, decoder).items()}
    tensors |= {f"{prefix}{part}.{key}": value for part in ("head", "predictor")
                for key, value in projection_head(64, 32).state_dict().items()}  # fmt: skip
    if prefix:
        tensors |= {f"teacher.{key}": value + 1 for key, value in encoder.state_dict().items()}
    target = convert(lut.ADAPTER, saved(tmp_path / "lut.pth", tensors), tmp_path / "made")
    ours, again = VitEncoder.from_pretrained(target), MaeDecoder.from_pretrained(target / "decoder")
    assert torch.equal(again(ours(IMAGES, MASK), MASK), decoder(encoder(IMAGES, MASK), MASK))


def test_lut_fine_tuned(tmp_path):
    torch.manual_seed(0)
    tuned = VitEncoder(**SIZES, pool="mean", classes=5).eval()
    target = convert(lut.ADAPTER, saved(tmp_path / "tuned.pth", tuned.state_dict()), tmp_path / "made")
    assert torch.equal(VitEncoder.from_pretrained(target).classify(IMAGES), tuned.classify(IMAGES))


def cae_release(encoder, decoder):
    named = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    named |= {f"teacher.{key}": value for key, value in encoder.state_dict().items()}
    for key, value in decoder.state_dict().items():
        key = re.sub(r"cross_attn\.([qv])\.bias", r"cross_attn.\1_bias", key)
        outside = key.startswith("encoder_to") or key == "mask_token"
        named[key if outside else f"pretext_neck.{key}"] = value
    return named


@pytest.mark.parametrize("width", [64, 128])
def test_cae(width, tmp_path):
    torch.manual_seed(0)
    encoder = CaeEncoder(16, 4, 64, 2, 1, 2.0).eval()
    decoder = CaeDecoder(11, 64, width, 2, 1, width // 64, 2.0).eval()
    target = convert(cae.ADAPTER, saved(tmp_path / "cae.pth", cae_release(encoder, decoder)), tmp_path / "made")
    ours, again = CaeEncoder.from_pretrained(target), CaeDecoder.from_pretrained(target / "decoder")
    expected = decoder(encoder(IMAGES, MASK), MASK)
    assert torch.equal(again(ours(IMAGES, MASK), MASK).predicted, expected.predicted)
    alone = convert(cae.ADAPTER, saved(tmp_path / "alone.pth", encoder.state_dict()), tmp_path / "alone")
    assert torch.equal(CaeEncoder.from_pretrained(alone)(IMAGES).patches, encoder(IMAGES).patches)


def test_heads_are_reported_or_follow_from_the_width():
    tensors = cae_release(CaeEncoder(16, 4, 128, 1, 2), CaeDecoder(11, 128, 128, 1, 1, 2))
    assert cae.arguments({}, tensors)["heads"] == 2
    reported = cae.arguments({"num_heads": 4, "args": {"decoder_num_heads": 8}}, tensors)
    assert reported["heads"] == 4 and reported["decoder"]["heads"] == 8


@pytest.mark.parametrize("release", [hpm.ADAPTER, lut.ADAPTER, cae.ADAPTER], ids=lambda release: release.name)
def test_something_else_is_refused(release, tmp_path):
    with pytest.raises(UserError, match=f"is not {release.name}"):
        convert(release, saved(tmp_path / "x.pth", {"weight": torch.zeros(2)}), tmp_path / "made")
    assert not (tmp_path / "made").exists()
