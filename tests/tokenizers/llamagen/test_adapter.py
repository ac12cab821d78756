"""LlamaGen's released tokenizers become parts of ours."""

import pytest
import torch

from mimgen.checkpoints.convert import convert
from mimgen.errors import UserError
from mimgen.tokenizers.llamagen.adapter import ADAPTER
from mimgen.tokenizers.llamagen.model import LlamaGenVQ

SIZES = {
    "VQ-16": {"multipliers": (1, 1, 2, 2, 4), "blocks": 1},
    "VQ-8": {"multipliers": (1, 2, 2, 4), "blocks": 2},
    "a decoder of its own": {"multipliers": (1, 2), "decoder_multipliers": (2, 1), "blocks": 1},
}


def release(options):
    """A model with the sizes in small, and its weights as they are distributed."""
    torch.manual_seed(0)
    model = LlamaGenVQ(channels=32, z_channels=8, codebook_size=16, code_dim=4, usage_window=10, **options).eval()
    return model, {"model": dict(model.state_dict())}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_read_from_the_tensors(name, tmp_path):
    model, checkpoint = release(SIZES[name])
    torch.save(checkpoint, tmp_path / "vq.pt")
    made = LlamaGenVQ.from_pretrained(convert(ADAPTER, tmp_path / "vq.pt", tmp_path / "made"))
    assert made.downsample == model.downsample
    images = torch.rand(1, 3, 16, 16)
    codes = model.encode(images)
    assert torch.equal(made.encode(images).indices, codes.indices)
    assert torch.equal(made.decode(codes.indices), model.decode(codes.indices))


def test_a_file_of_something_else_is_named(tmp_path):
    torch.save({"model": {"decoder.weight": torch.zeros(2)}}, tmp_path / "vq.pt")
    with pytest.raises(UserError, match="llamagen"):
        convert(ADAPTER, tmp_path / "vq.pt", tmp_path / "made")


def test_missing_keys_are_listed(tmp_path):
    _, checkpoint = release(SIZES["VQ-8"])
    del checkpoint["model"]["quant_conv.bias"]
    torch.save(checkpoint, tmp_path / "vq.pt")
    with pytest.raises(UserError, match=r"missing quant_conv\.bias"):
        convert(ADAPTER, tmp_path / "vq.pt", tmp_path / "made")
    assert not (tmp_path / "made").exists()
