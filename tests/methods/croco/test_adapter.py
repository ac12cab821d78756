"""Official checkpoints of CroCo become our folders, with their decoder or without."""

import pytest
import torch

from mimgen.checkpoints.convert import convert
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.croco.adapter import ADAPTER
from mimgen.methods.croco.decoder import CrossViewDecoder
from mimgen.methods.croco.encoder import CrossViewVit
from mimgen.types import SampleRNG

SIZES = {"image_size": 16, "patch": 4, "width": 64, "depth": 2, "heads": 1}
_NAMES = (("norm_memory", "norm_y"), *((f"cross_attn.{letter}.", f"cross_attn.proj{letter}.") for letter in "qkv"))
_FIRST = {"embed": "decoder_embed", "norm": "dec_norm", "pred": "prediction_head", "blocks": "dec_blocks"}


def official(encoder, decoder=None):
    """The state dict under the names of the release."""
    first = {"blocks": "enc_blocks", "norm": "enc_norm", "patch_embed": "patch_embed"}
    named = {}
    for part, names in ((encoder, first), (decoder, _FIRST)):
        for key, value in {} if part is None else part.state_dict().items():
            head, _, rest = key.partition(".")
            name = f"{names.get(head, head)}.{rest}" if rest else names.get(head, head)
            for ours, theirs in _NAMES:
                name = name.replace(ours, theirs)
            named[name] = value
    return named


def networks(positions):
    torch.manual_seed(0)
    encoder = CrossViewVit(**SIZES, positions=positions).eval()
    return encoder, CrossViewDecoder(16, 4, 64, 64, 1, 1, positions=positions).eval()


@pytest.mark.parametrize("positions", ["fixed", "rotary"])
def test_encoder_and_decoder_come_over_whole(positions, tmp_path):
    encoder, decoder = networks(positions)
    tensors = official(encoder, decoder)
    if positions == "fixed":
        tensors |= {"enc_pos_embed": torch.zeros(16, 64), "dec_pos_embed": torch.zeros(16, 64)}
    torch.save({"model": tensors, "args": {"img_size": 16}}, tmp_path / "x.pth")
    target = convert(ADAPTER, tmp_path / "x.pth", tmp_path / "made")
    ours = CrossViewVit.from_pretrained(target)
    again = CrossViewDecoder.from_pretrained(target / "decoder")
    assert ours.positions == positions
    first, second = torch.rand(2, 2, 3, 16, 16)
    mask = Random()((4, 4), SampleRNG([0, 1]))
    output = decoder(encoder(first, mask), encoder(second), mask)
    assert torch.equal(again(ours(first, mask), ours(second), mask), output)


def test_an_encoder_alone_and_the_config(tmp_path):
    encoder, _ = networks("rotary")
    torch.save({"model": official(encoder)}, tmp_path / "x.pth")
    assert not (convert(ADAPTER, tmp_path / "x.pth", tmp_path / "made") / "decoder").exists()
    reported = ADAPTER.arguments({"enc_num_heads": 4, "pos_embed": "RoPE50"}, official(encoder))
    assert reported["heads"] == 4 and reported["base"] == 50.0 and "decoder" not in reported
    within = ADAPTER.arguments({"croco_kwargs": {"enc_num_heads": 2}}, official(encoder))
    assert within["heads"] == 2
    assert ADAPTER.our_key("enc_pos_embed") is None
    torch.save({"model": {"weight": torch.zeros(2)}}, tmp_path / "y.pth")
    with pytest.raises(UserError, match="is not croco"):
        convert(ADAPTER, tmp_path / "y.pth", tmp_path / "other")
