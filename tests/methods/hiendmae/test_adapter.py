"""Official checkpoints of Hi-End-MAE become our folders."""

import pytest
import torch

from mimgen.checkpoints.convert import convert
from mimgen.checkpoints.official import OfficialModel
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.hiendmae.adapter import ADAPTER
from mimgen.methods.hiendmae.decoder import HierarchicalDecoder
from mimgen.methods.hiendmae.encoder import VolumeVit
from mimgen.types import SampleRNG


def parts(positions="fixed"):
    torch.manual_seed(0)
    encoder = VolumeVit((8, 8, 8), 4, 48, 10, 1, positions=positions, channels=2).eval()
    return encoder, HierarchicalDecoder((2, 2, 2), 48, 128, (9, 6, 3), 36, 1, 1).eval()


def official(encoder, decoder):
    """The state dict under the names of the release."""
    found = {}
    for key, value in OfficialModel(encoder, decoder).state_dict().items():
        key = key.replace("decoder.cross_blocks.", "decoder.cross_attention_blocks.")
        key = key.replace("decoder.embed.", "encoder_to_decoder.3.").replace(".pos_embed", "_pos_embed")
        for ours, theirs in ((0, 2), (1, 1), (2, 0)):
            key = key.replace(f"decoder.memories.{ours}.", f"encoder_to_decoder.{theirs}.")
        found["mask_token" if key == "decoder.mask_token" else key] = value
    return found


@pytest.mark.parametrize("positions", ["fixed", "learned"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_encoder_and_decoder_come_over_whole(tmp_path, positions, prefix):
    encoder, decoder = parts(positions)
    tensors = {f"{prefix}{key}": value for key, value in official(encoder, decoder).items()}
    torch.save({"state_dict": tensors}, tmp_path / "whole.pth")
    target = convert(ADAPTER, tmp_path / "whole.pth", tmp_path / "made")
    ours, again = VolumeVit.from_pretrained(target), HierarchicalDecoder.from_pretrained(target / "decoder")
    assert ours.pos_embed.requires_grad == (positions == "learned") and again.taps == (9, 6, 3)
    volumes, mask = torch.rand(2, 2, 8, 8, 8), Random(0.5)((2, 4), SampleRNG([0, 1]))
    output = decoder(encoder(volumes, mask, layers=decoder.taps), mask)
    assert torch.equal(again(ours(volumes, mask, layers=again.taps), mask), output)


def test_an_encoder_alone_and_heads_of_a_config(tmp_path):
    encoder, decoder = parts()
    tensors = official(encoder, decoder)
    reported = ADAPTER.arguments({"encoder": {"num_heads": 4}, "decoder": {"num_heads": 3}}, tensors)
    assert reported["heads"] == 4 and reported["decoder"]["heads"] == 3
    alone = {key: value for key, value in tensors.items() if key.startswith("encoder") and "to_decoder" not in key}
    torch.save(alone, tmp_path / "alone.pth")
    target = convert(ADAPTER, tmp_path / "alone.pth", tmp_path / "made")
    assert not (target / "decoder").exists()
    volumes = torch.rand(1, 2, 8, 8, 8)
    assert torch.equal(VolumeVit.from_pretrained(target)(volumes).patches, encoder(volumes).patches)


def test_what_is_missing_is_listed(tmp_path):
    tensors = official(*parts())
    del tensors["encoder_to_decoder.0.bias"]
    torch.save(tensors, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"missing decoder\.memories\.2\.bias"):
        convert(ADAPTER, tmp_path / "x.pth", tmp_path / "made")
