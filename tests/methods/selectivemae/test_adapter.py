"""Official checkpoints of SelectiveMAE become our folders; weights that are never used stay behind."""

import pytest
import torch

from mimgen.checkpoints.convert import convert
from mimgen.encoders.vit import VitEncoder, mae_vit
from mimgen.methods.selectivemae.adapter import ADAPTER
from mimgen.methods.selectivemae.decoder import SubsetDecoder
from mimgen.types import Mask

SIZES = {"image_size": 16, "patch": 4, "width": 64, "depth": 2, "heads": 1}
_NORMS = {"norm1": "norm0", "norm2": "norm1", "norm3": "norm2", "attn": "self_attn"}


def official(encoder, decoder=None):
    """The state dict under the names of the release."""
    named = dict(encoder.state_dict())
    for key, value in (decoder.state_dict() if decoder else {}).items():
        parts = key.split(".")
        if parts[0] == "blocks":
            parts[2] = _NORMS.get(parts[2], parts[2])
        named[key if key == "mask_token" else f"decoder_{'.'.join(parts)}"] = value
    return named


@pytest.mark.parametrize("self_attention", [False, True])
def test_encoder_and_decoder_come_over_whole(self_attention, tmp_path):
    torch.manual_seed(0)
    encoder, decoder = mae_vit(**SIZES).eval(), SubsetDecoder(16, 4, 64, 32, 1, 1, self_attention=self_attention)
    tensors = official(encoder, decoder.eval())
    tensors |= {"hog.gkern": torch.zeros(16, 16), "decoder_embed1.bias": torch.zeros(32)}
    torch.save({"model": tensors}, tmp_path / "x.pth")
    target = convert(ADAPTER, tmp_path / "x.pth", tmp_path / "made")
    ours, again = VitEncoder.from_pretrained(target), SubsetDecoder.from_pretrained(target / "decoder")
    images, masked = torch.rand(2, 3, 16, 16), (torch.arange(16) > 2).expand(2, -1)
    mask = Mask(masked, (torch.arange(16) > 12).expand(2, -1))
    assert torch.equal(again(ours(images, mask), mask), decoder(encoder(images, mask), mask))


def test_an_encoder_alone(tmp_path):
    encoder = mae_vit(**SIZES).eval()
    torch.save({"model": official(encoder)}, tmp_path / "x.pth")
    target = convert(ADAPTER, tmp_path / "x.pth", tmp_path / "made")
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(VitEncoder.from_pretrained(target)(images).patches, encoder(images).patches)
    assert not (target / "decoder").exists()
    assert ADAPTER.our_key("get_token_probs.0.norm1.bias") is None
    assert ADAPTER.our_key("pos_embed") == "encoder.pos_embed"
