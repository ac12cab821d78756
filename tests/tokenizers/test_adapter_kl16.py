"""MAR's KL autoencoder becomes diffusers' and computes what its own layout says."""

import pytest
import torch
import torch.nn.functional as F

from mimgen.checkpoints.convert import convert
from mimgen.errors import UserError
from mimgen.tokenizers.adapter_kl16 import ADAPTER
from mimgen.tokenizers.diffusers_models import DiffusersKL

LEVELS, BLOCKS, LATENT = (32, 32, 64), 2, 4


def conv(tensors, name, wide, narrow, size=3):
    generator = torch.Generator().manual_seed(len(tensors))
    tensors[f"{name}.weight"] = torch.randn(wide, narrow, size, size, generator=generator) / (narrow**0.5 * size)
    tensors[f"{name}.bias"] = 0.1 * torch.randn(wide, generator=generator)


def norm(tensors, name, width):
    generator = torch.Generator().manual_seed(len(tensors))
    tensors[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=generator)
    tensors[f"{name}.bias"] = 0.1 * torch.randn(width, generator=generator)


def block(tensors, name, wide, narrow):
    norm(tensors, f"{name}.norm1", narrow)
    conv(tensors, f"{name}.conv1", wide, narrow)
    norm(tensors, f"{name}.norm2", wide)
    conv(tensors, f"{name}.conv2", wide, wide)
    if wide != narrow:
        conv(tensors, f"{name}.nin_shortcut", wide, narrow, 1)


def attention(tensors, name, width):
    norm(tensors, f"{name}.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        conv(tensors, f"{name}.{part}", width, width, 1)


def middle(tensors, side, width):
    block(tensors, f"{side}.mid.block_1", width, width)
    attention(tensors, f"{side}.mid.attn_1", width)
    block(tensors, f"{side}.mid.block_2", width, width)


def release():
    """Weights of a small autoencoder in the layout of latent diffusion, with attention on the last level."""
    tensors, top, width = {}, len(LEVELS) - 1, LEVELS[0]
    conv(tensors, "encoder.conv_in", width, 3)
    for level, wide in enumerate(LEVELS):
        for number in range(BLOCKS):
            block(tensors, f"encoder.down.{level}.block.{number}", wide, width)
            width = wide
            if level == top:
                attention(tensors, f"encoder.down.{level}.attn.{number}", wide)
        if level < top:
            conv(tensors, f"encoder.down.{level}.downsample.conv", wide, wide)
    middle(tensors, "encoder", width)
    norm(tensors, "encoder.norm_out", width)
    conv(tensors, "encoder.conv_out", 2 * LATENT, width)
    conv(tensors, "quant_conv", 2 * LATENT, 2 * LATENT, 1)
    conv(tensors, "post_quant_conv", LATENT, LATENT, 1)
    conv(tensors, "decoder.conv_in", width, LATENT)
    middle(tensors, "decoder", width)
    for level, wide in reversed(list(enumerate(LEVELS))):
        for number in range(BLOCKS + 1):
            block(tensors, f"decoder.up.{level}.block.{number}", wide, width)
            width = wide
            if level == top:
                attention(tensors, f"decoder.up.{level}.attn.{number}", wide)
        if level > 0:
            conv(tensors, f"decoder.up.{level}.upsample.conv", wide, wide)
    norm(tensors, "decoder.norm_out", width)
    conv(tensors, "decoder.conv_out", 3, width)
    return tensors


class Reference:
    """The network as its keys tell it, computed without diffusers."""

    def __init__(self, tensors):
        self.tensors = tensors

    def conv(self, name, x, **options):
        weight = self.tensors[f"{name}.weight"]
        return F.conv2d(x, weight, self.tensors[f"{name}.bias"], **{"padding": weight.shape[-1] // 2} | options)

    def norm(self, name, x):
        return F.group_norm(x, 32, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"], 1e-6)

    def block(self, name, x):
        masked = self.conv(f"{name}.conv1", F.silu(self.norm(f"{name}.norm1", x)))
        masked = self.conv(f"{name}.conv2", F.silu(self.norm(f"{name}.norm2", masked)))
        skip = self.conv(f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in self.tensors else x
        return skip + masked

    def attention(self, name, x):
        if f"{name}.norm.weight" not in self.tensors:
            return x
        masked = self.norm(f"{name}.norm", x)
        q, k, v = (self.conv(f"{name}.{part}", masked).flatten(2) for part in "qkv")
        weights = (q.transpose(1, 2) @ k / q.shape[1] ** 0.5).softmax(-1)
        mixed = (v @ weights.transpose(1, 2)).view_as(x)
        return x + self.conv(f"{name}.proj_out", mixed)

    def middle(self, side, x):
        x = self.attention(f"{side}.mid.attn_1", self.block(f"{side}.mid.block_1", x))
        return self.block(f"{side}.mid.block_2", x)

    def encode(self, x):
        x = self.conv("encoder.conv_in", x)
        for level in range(len(LEVELS)):
            for number in range(BLOCKS):
                x = self.block(f"encoder.down.{level}.block.{number}", x)
                x = self.attention(f"encoder.down.{level}.attn.{number}", x)
            if level < len(LEVELS) - 1:
                x = self.conv(
                    f"encoder.down.{level}.downsample.conv", F.pad(x, (0, 1, 0, 1)), stride=2, padding=0
                )
        x = F.silu(self.norm("encoder.norm_out", self.middle("encoder", x)))
        return self.conv("quant_conv", self.conv("encoder.conv_out", x)).chunk(2, dim=1)[0]

    def decode(self, z):
        x = self.middle("decoder", self.conv("decoder.conv_in", self.conv("post_quant_conv", z)))
        for level in reversed(range(len(LEVELS))):
            for number in range(BLOCKS + 1):
                x = self.block(f"decoder.up.{level}.block.{number}", x)
                x = self.attention(f"decoder.up.{level}.attn.{number}", x)
            if level > 0:
                x = self.conv(f"decoder.up.{level}.upsample.conv", F.interpolate(x, scale_factor=2.0))
        return self.conv("decoder.conv_out", F.silu(self.norm("decoder.norm_out", x)))


def save(tensors, folder):
    torch.save({"model": tensors}, folder / "kl16.ckpt")
    return folder / "kl16.ckpt"


def test_the_converted_folder_computes_what_the_release_does(tmp_path):
    tensors = release()
    source = save({**tensors, "loss.logvar": torch.zeros(())}, tmp_path)
    made = DiffusersKL.from_pretrained(convert(ADAPTER, source, tmp_path / "made")).eval()
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    reference = Reference(tensors)
    with torch.no_grad():
        latents = reference.encode(2 * images - 1)
        found = made.encode(images).latents
        torch.testing.assert_close(found, 0.2325 * latents, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(made.reconstruct(found), (reference.decode(latents) + 1) / 2, rtol=1e-4, atol=1e-5)
    assert (made.downsample, made.codebook_size) == (4, 0)


def test_names_and_values_survive_the_round_trip():
    tensors = release()
    ours = ADAPTER.from_official(tensors)
    assert ADAPTER.make(ADAPTER.arguments({}, tensors), tensors).state_dict().keys() == ours.keys()
    back = ADAPTER.to_official(ours)
    assert back.keys() == tensors.keys() and all(torch.equal(value, tensors[name]) for name, value in back.items())


def test_another_scale_is_taken_from_the_config():
    assert ADAPTER.arguments({"scaling_factor": 0.5}, release())["scaling_factor"] == 0.5


def test_missing_keys_are_listed(tmp_path):
    tensors = release()
    del tensors["decoder.up.1.upsample.conv.bias"]
    with pytest.raises(UserError, match=r"missing model\.decoder\.up_blocks\.1\.upsamplers\.0\.conv\.bias"):
        convert(ADAPTER, save(tensors, tmp_path), tmp_path / "made")


def test_a_file_of_something_else_is_named(tmp_path):
    with pytest.raises(UserError, match="kl16"):
        convert(ADAPTER, save({"weight": torch.zeros(2)}, tmp_path), tmp_path / "made")
