"""The BEiT encoder: contract, masks, levels, sizes; the bottleneck of the pretraining network."""

import pytest
import torch

from mimgen.encoders.beit import BeitEncoder
from mimgen.errors import UserError
from mimgen.methods.beitv2 import BeitPretraining
from mimgen.types import Mask


def make_images(count=2, side=16):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def encoder(**options):
    torch.manual_seed(0)
    return BeitEncoder(16, 4, 16, 3, 2, 2.0, **options).eval()


@pytest.mark.parametrize("relative", ["none", "shared", "block"])
@torch.no_grad()
def test_contract(relative):
    module = encoder(relative=relative)
    tokens = module(make_images(), layers=(0, 2))
    assert (module.dim, module.depth, module.patch) == (16, 3, 4)
    assert tokens.patches.shape == (2, 16, 16)
    assert tokens.prefix.shape == (2, 1, 16)
    assert tokens.grid == (4, 4)
    assert [level.shape for level in tokens.levels] == [(2, 16, 16)] * 2
    torch.testing.assert_close(module.closed(tokens.levels[1]), tokens.patches)
    torch.testing.assert_close(module(make_images()[1:]).patches, tokens.patches[1:])


def test_a_saved_encoder_comes_back(tmp_path):
    module = encoder(relative="shared", mask_token=True, layer_scale=0.1)
    module.save_pretrained(tmp_path)
    again = BeitEncoder.from_pretrained(tmp_path)
    torch.testing.assert_close(again(make_images()).patches, module(make_images()).patches)


@torch.no_grad()
def test_masked_patches_are_not_seen():
    module = encoder(mask_token=True, relative="shared", absolute=False)
    masked = torch.zeros(2, 16, dtype=torch.bool)
    masked[:, 5] = True
    changed = make_images()
    changed[:, :, 4:8, 4:8] = 0.3
    seen = module(make_images(), Mask(masked)).patches
    torch.testing.assert_close(module(changed, Mask(masked)).patches, seen)
    assert not torch.allclose(module(changed).patches, module(make_images()).patches)
    with pytest.raises(UserError, match="mask_token=True"):
        encoder()(make_images(), Mask(masked))


@torch.no_grad()
def test_absolute_positions_take_other_sizes_and_relative_ones_say_no():
    assert encoder()(make_images(side=24)).patches.shape == (2, 36, 16)
    with pytest.raises(UserError, match="resize the images to 16 x 16"):
        encoder(relative="shared")(make_images(side=24))
    with pytest.raises(UserError, match="patches of 4"):
        encoder()(make_images(side=18))
    with pytest.raises(UserError, match="divide"):
        BeitEncoder(18, 4)
    with pytest.raises(UserError, match="convert them"):
        encoder()(make_images()[:, :1])
    with pytest.raises(UserError, match="does not exist"):
        encoder()(make_images(), layers=(-4,))


def test_the_bottleneck_reaches_deep_blocks_through_the_class_token_only():
    torch.manual_seed(0)
    network = BeitPretraining(16, 4, 16, 4, 2, 2.0, codes=8, early_layers=2, head_layers=1, second=48)
    masked = torch.zeros(2, 16, dtype=torch.bool)
    masked[:, :6] = True
    final, (early,) = network.states(network.normalised(make_images()), masked, (1,))
    cut = torch.cat([final[:, :1].detach(), early[:, 1:]], dim=1)
    for block in network.cls_pt_layers:
        cut = block(cut, network.shared_bias())
    deep, shallow = (network.blocks[i].mlp.fc2.weight for i in (2, 1))
    reached = torch.autograd.grad(cut[:, 1:].square().sum(), [deep, shallow], allow_unused=True)
    assert reached[0] is None
    assert reached[1].abs().sum() > 0
    predicted = network.predict(make_images(), Mask(masked))
    assert predicted.codes.shape == (12, 8)
    assert predicted.second.shape == (12, 48)
    (through_class,) = torch.autograd.grad(predicted.second.square().sum(), [deep])
    assert through_class.abs().sum() > 0


def test_heads_may_be_shared_or_absent():
    shared = BeitPretraining(16, 4, 16, 2, 2, codes=8, early_layers=1, head_layers=1)
    plain = BeitPretraining(16, 4, 16, 2, 2, codes=8, early_layers=None)
    mask = Mask(torch.ones(2, 16, dtype=torch.bool))
    assert shared.predict(make_images(), mask).second.shape == (32, 8)
    assert plain.predict(make_images(), mask).second is None
    with pytest.raises(UserError, match=r"1\.\.2"):
        BeitPretraining(16, 4, 16, 2, 2, early_layers=3)


def test_attention_maps_contain_the_relative_bias():
    shared, images = encoder(relative="shared"), make_images()
    table = shared.rel_pos_bias.relative_position_bias_table
    plain = shared(images, attention=(1, 0)).attention
    with torch.no_grad():
        table[-3] = 50.0  # from the class token to every patch
    maps = shared(images, attention=(1, 0)).attention
    assert maps[0].shape == (2, 2, 17, 17) and torch.allclose(maps[0].sum(-1), torch.ones(2, 2, 17))
    assert (maps[1][:, :, 0, 0] < 1e-6).all() and (plain[1][:, :, 0, 0] > 1e-3).all()
    assert torch.equal(maps[1][:, :, 1:], plain[1][:, :, 1:])  # patches look as before in the first block
