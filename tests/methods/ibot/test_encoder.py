"""iBOT's encoder: masked patches, crops of other sizes, and its head."""

import pytest
import torch
import torch.nn.functional as F

from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.methods.ibot.head import PrototypeHead
from mimgen.types import Mask

TOKEN = {"mask_token": "replace", "mask_token_std": 0.0}  # masked patches as iBOT shows them


def encoder(**options):
    torch.manual_seed(0)
    return VitEncoder(16, 4, 32, 2, 2, **{**TOKEN, **options}).eval()


def test_without_a_mask_it_is_a_vit():
    ours, images = encoder(), torch.rand(2, 3, 16, 16)
    plain = VitEncoder(16, 4, 32, 2, 2).eval()
    plain.load_state_dict({name: value for name, value in ours.state_dict().items() if name != "mask_token"})
    torch.testing.assert_close(ours(images).patches, plain(images).patches)
    assert len(ours(images, layers=(0, -1)).levels) == 2
    assert torch.equal(encoder().mask_token, torch.zeros(1, 1, 32))


def test_masked_patches_are_a_token_with_its_position_in_rows_of_any_count():
    ours, images = encoder(), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        ours.mask_token.normal_()
    masked = torch.zeros(2, 16, dtype=torch.bool)
    masked[0, :5], masked[1, 2] = True, True
    x, grid = ours.embed(images, Mask(masked))
    seen, _ = ours.embed(images)
    assert grid == (4, 4) and x.shape == (2, 17, 32)
    torch.testing.assert_close(x[0, 1:6], ours.mask_token[0] + ours.pos_embed[0, 1:6])
    assert torch.equal(x[:, 1:][~masked], seen[:, 1:][~masked])
    with pytest.raises(ValueError, match="different numbers"):
        encoder(mask_token=None)(images, Mask(masked))  # which leaves masked patches out


def test_small_crops_get_a_resized_table_with_or_without_the_margin():
    small = torch.rand(1, 3, 8, 8)
    assert encoder()(small).grid == (2, 2)
    plain, wide = encoder().embed(small)[0], encoder(position_margin=0.1).embed(small)[0]
    table = encoder().pos_embed[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    scaled = F.interpolate(table, scale_factor=(2.1 / 4, 2.1 / 4), mode="bicubic").flatten(2).transpose(1, 2)
    even = F.interpolate(table, size=(2, 2), mode="bicubic").flatten(2).transpose(1, 2)
    torch.testing.assert_close((wide - plain)[:, 1:], scaled - even)
    whole = torch.rand(1, 3, 16, 16)
    assert torch.equal(encoder()(whole).patches, encoder(position_margin=0.1)(whole).patches)


def test_it_is_saved_and_read_back(tmp_path):
    ours, images = encoder(position_margin=0.1), torch.rand(1, 3, 8, 8)
    ours.save_pretrained(tmp_path)
    assert torch.equal(VitEncoder.from_pretrained(tmp_path)(images).patches, ours(images).patches)


def test_prototypes_have_length_one_and_features_too():
    head = PrototypeHead(32, 24, hidden=16, bottleneck=8)
    torch.testing.assert_close(head.last_layer.directions.norm(dim=1), torch.ones(24))
    assert not head.last_layer.weight_g.requires_grad
    features = head.features(torch.randn(2, 5, 32))
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(2, 5))
    scores = head.patches(features)
    assert scores.shape == (2, 5, 24) and float(scores.detach().abs().max()) <= 1
    assert torch.equal(scores, head.classes(features))
    assert PrototypeHead(32, 24, hidden=16, bottleneck=8, fixed_gain=False).last_layer.weight_g.requires_grad


def test_patches_may_have_prototypes_of_their_own():
    head = PrototypeHead(32, 24, 12, hidden=16, bottleneck=8, layers=1)
    features = head.features(torch.randn(3, 32))
    assert head.classes(features).shape == (3, 24) and head.patches(features).shape == (3, 12)
    head.classes(features, frozen=True).sum().backward()
    assert head.last_layer.weight_v.grad is None and head.mlp[0].weight.grad is not None
    with pytest.raises(UserError, match="at least 1"):
        PrototypeHead(32, 24, layers=0)
