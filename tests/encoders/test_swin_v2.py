"""Swin v2: equal to timm's, what its attention is bounded by, many channels, extra norms and other sizes."""

import math

import pytest
import torch

from mimgen.encoders.swin_v2 import SwinV2Encoder, every
from mimgen.errors import UserError
from mimgen.layers.blocks.swin_v2 import CosineWindowAttention, SwinV2Block, log_offsets
from mimgen.types import Mask

SMALL = {"image_size": 16, "embed_patch": 2, "width": 16, "depths": (2, 2), "heads": (1, 2), "window": 4}


def encoder(**options):
    torch.manual_seed(0)
    built = SwinV2Encoder(**{**SMALL, **options})
    for block in built.modules():
        if isinstance(block, SwinV2Block):
            torch.nn.init.ones_(block.norm1.weight)
            torch.nn.init.ones_(block.norm2.weight)
    return built.eval()


def test_it_is_timms_network():
    timm = pytest.importorskip("timm")
    theirs = timm.models.swin_transformer_v2.SwinTransformerV2(
        img_size=16, patch_size=2, embed_dim=16, depths=(2, 2), num_heads=(1, 2), window_size=4, num_classes=0
    ).eval()
    torch.nn.init.trunc_normal_(theirs.layers[0].blocks[0].attn.q_bias)
    ours = encoder()
    named = {}
    for key, value in theirs.state_dict().items():
        # timm puts the merging before the stage that it leads to
        key = key.replace("layers.1.downsample", "layers.0.downsample").replace("patch_embed.norm", "patch_norm")
        named[key] = value
    named = {key: value for key, value in named.items() if not key.endswith(("coords_table", "index", "attn_mask"))}
    # timm keeps a bias of zeros for the keys as a buffer
    named = {key: value for key, value in named.items() if not key.endswith("k_bias")}
    missing, unexpected = ours.load_state_dict(named, strict=False)
    assert (missing, unexpected) == (["mask_token"], [])
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        expected = theirs.forward_features((images - ours.mean) / ours.std)
        tokens = ours(images, layers=[1, -1])
    torch.testing.assert_close(tokens.patches, expected.flatten(1, 2), rtol=1e-4, atol=1e-5)
    assert tokens.grid == (4, 4)
    assert [level.shape for level in tokens.levels] == [(2, 64, 16), (2, 16, 32)]


def test_scale_and_bias_are_bounded():
    attention = CosineWindowAttention(8, 2, 2)
    torch.nn.init.constant_(attention.logit_scale, 50.0)
    for part in attention.cpb_mlp.parameters():
        torch.nn.init.normal_(part, std=100.0)
    bias = attention.position_bias()
    assert bias.shape == (2, 4, 4)
    assert bias.min() >= 0 and bias.max() <= 16
    out = attention(torch.randn(1, 1, 4, 8))
    torch.nn.init.constant_(attention.logit_scale, math.log(100.0))
    x = torch.randn(1, 1, 4, 8)
    limited = attention(x)
    torch.nn.init.constant_(attention.logit_scale, 9.0)
    assert torch.equal(attention(x), limited)
    assert out.isfinite().all()


def test_offsets_are_odd_and_logarithmic():
    table = log_offsets(4, 4)
    assert torch.equal(table.flip(0), -table)
    assert float(table.abs().max()) == pytest.approx(math.log2(9) / 3)
    assert float(log_offsets(4, 8).abs().max()) < float(table.abs().max())


def test_any_channels_and_hidden_values_are_not_seen():
    built = encoder(channels=14, mean=(0.0,) * 14, std=(1.0,) * 14, positions=True)
    images = torch.rand(1, 14, 16, 16)
    mask = Mask(torch.arange(64)[None] % 2 == 0)
    other = images.clone()
    other[:, :, :2, :2] = 9.0
    assert torch.equal(built(images, mask).patches, built(other, mask).patches)
    assert not torch.equal(built(images).patches, built(other).patches)
    with pytest.raises(UserError, match=r"images \[B, 14, H, W\]"):
        built(torch.rand(1, 3, 16, 16))


def test_positions_are_added_to_the_mask_token_too():
    built = encoder(positions=True)
    mask = Mask(torch.ones(1, 64, dtype=torch.bool))
    x = built.embed(torch.rand(1, 3, 16, 16), mask)
    torch.testing.assert_close(x.flatten(1, 2), built.mask_token + built.absolute_pos_embed)
    assert built(torch.rand(1, 3, 24, 20)).grid == (6, 5)


def test_extra_norms_and_windows_of_small_grids():
    assert every(2, (2, 4)) == (1, 3, 5)
    assert every(6, (2, 2, 42, 2)) == tuple(range(9, 46, 6))
    assert every(0, (2, 2)) == ()
    built = encoder(extra_norms=(1,), window=8)
    found = [key for key in built.state_dict() if "norm3" in key]
    assert found == ["layers.0.blocks.1.norm3.weight", "layers.0.blocks.1.norm3.bias"]
    assert [stage["blocks"][0].window for stage in built.layers] == [8, 4]
    last = built(torch.rand(1, 3, 16, 16), layers=[1]).levels[0]
    torch.testing.assert_close(last.mean(-1), torch.zeros(1, 64), atol=1e-5, rtol=0)


def test_fresh_blocks_are_the_identity_and_it_is_saved(tmp_path):
    torch.manual_seed(0)
    built = SwinV2Encoder(**SMALL).eval()
    x = torch.randn(1, 8, 8, 16)
    assert torch.equal(built.layers[0]["blocks"][1](x), x)
    built.save_pretrained(tmp_path)
    images = torch.rand(1, 3, 16, 16)
    assert torch.equal(SwinV2Encoder.from_pretrained(tmp_path)(images).patches, built(images).patches)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="does not divide into patches of 4"):
        SwinV2Encoder(18)
    with pytest.raises(UserError, match="give one for each of 2 stages"):
        SwinV2Encoder(**SMALL, pretrained_windows=(4,))
    with pytest.raises(UserError, match="must name the same stages"):
        SwinV2Encoder(**{**SMALL, "heads": (1,)})
    with pytest.raises(UserError, match="first grid has 64"):
        encoder()(torch.rand(1, 3, 16, 16), Mask(torch.ones(1, 16, dtype=torch.bool)))
