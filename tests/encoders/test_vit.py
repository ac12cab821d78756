"""The ViT encoder: shapes, levels, maps, other sizes, masks and merging."""

import pytest
import torch
from torch.testing import assert_close

from mimgen.encoders.merging import Merging
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.layers.merging import Merged, match
from mimgen.types import Mask


def encoder(**options):
    torch.manual_seed(0)
    built = VitEncoder(image_size=24, patch=4, width=16, depth=3, heads=2, mlp_ratio=2.0, **options)
    for block in built.blocks:  # larger than at the start, so that an error in any branch shows
        torch.nn.init.normal_(block.attn.qkv.weight, std=0.3)
    return built.eval()


def images(rows=24, columns=24):
    return torch.rand(2, 3, rows, columns, generator=torch.Generator().manual_seed(1))


def test_tokens_levels_and_maps():
    built = encoder(layer_scale=0.1)
    tokens = built(images(), layers=(0, -1), attention=(1,))
    assert tokens.patches.shape == (2, 36, 16)
    assert tokens.prefix.shape == (2, 1, 16)
    assert tokens.grid == (6, 6)
    assert [tuple(level.shape) for level in tokens.levels] == [(2, 36, 16)] * 2
    assert_close(built.norm(tokens.levels[1]), tokens.patches)
    assert_close(tokens.attention[0].sum(-1), torch.ones(2, 2, 37))


def test_attention_maps_are_those_of_the_forward_pass():
    block = encoder().blocks[0]
    x = torch.randn(2, 5, 16)
    _, _, v = block.attn.project(x)
    mixed = torch.einsum("bhts,bshd->bthd", block.attn.maps(x), v).flatten(2)
    assert_close(block.attn.proj(mixed), block.attn(x))


def test_images_of_another_shape():
    tokens = encoder()(images(16, 32))
    assert tokens.grid == (4, 8)
    assert tokens.patches.shape == (2, 32, 16)


def test_normalisation_is_inside():
    plain, shifted = encoder(mean=(0, 0, 0), std=(1, 1, 1)), encoder(mean=(0.5,) * 3, std=(0.25,) * 3)
    assert_close(shifted(images()).patches, plain((images() - 0.5) / 0.25).patches)


def test_masked_patches_do_not_matter():
    mask = Mask(torch.arange(36).expand(2, -1) % 3 == 0)
    built = encoder()
    other = images()
    other[:, :, :4, :4] = 0  # patch 0, masked
    assert built(images(), mask).patches.shape == (2, 24, 16)
    assert_close(built(images(), mask).patches, built(other, mask).patches)


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_merging_to_a_keep_count(pool):
    built = encoder(pool=pool, classes=5)
    tokens = built(images(), merging=Merging(keep=9), layers=(0,), attention=(2,))
    assert tokens.patches.shape == (2, 9, 16)
    assert tokens.merged.source.sum(1).eq(1).all()
    assert int(tokens.merged.sizes.sum()) == 2 * 37
    assert tokens.levels[0].shape == (2, 36, 16)
    assert tokens.unmerge.shape == (2, 36, 16)
    assert_close(tokens.attention[0].sum(-1), torch.ones(tokens.attention[0].shape[:-1]))
    assert built.classify(images(), merging=Merging(keep=0.5)).shape == (2, 5)


def test_merging_nothing_changes_nothing():
    built = encoder()
    assert_close(built(images(), merging=Merging(keep=36)).patches, built(images()).patches)


def test_proportional_attention_makes_copies_of_a_patch_count_alike():
    """Exactly equal tokens merged, with log size, attend as they did apart."""
    built = encoder()
    block = built.blocks[0]
    apart = torch.randn(2, 6, 16)
    apart[:, 4] = apart[:, 3]
    x, merged = Merged.start(apart).through(apart, match(apart, 1))
    full = block(apart)
    together, _ = block.merge_forward(x, merged, 0)
    assert_close(together, full[:, [0, 2, 1, 3, 5]])
    unweighted, _ = block.merge_forward(x, merged, 0, proportional=False)
    assert not torch.allclose(unweighted, full[:, [0, 2, 1, 3, 5]], atol=1e-4)


def test_mean_pooling_counts_a_merged_token_by_its_size():
    built = encoder(pool="mean")
    tokens = built(images(), merging=Merging(remove=4))
    assert_close(built.pool(tokens), built.fc_norm(tokens.unmerge.mean(1)))


def test_schedules():
    assert Merging(remove=(6, -0.5)).merge_schedule(36, 3) == (9, 6, 3)
    assert Merging(remove=(9, 4)).merge_schedule(36, 3) == (9, 4, 0)
    assert Merging(remove=20, strict=False).merge_schedule(36, 3) == (18, 9, 4)


def test_merging_that_cannot_be_or_does_not_pay_is_refused():
    built = encoder()
    with pytest.raises(UserError, match="cannot merge away 20 of 37"):
        built(images(), merging=Merging(remove=20))
    with pytest.raises(UserError, match="cannot keep 37 of 36"):
        built(images(), merging=Merging(keep=37))
    with pytest.raises(UserError, match="does not pay"):
        built(images(12, 12), merging=Merging(keep=4))
    with pytest.raises(UserError, match="one of remove"):
        Merging()


def test_bad_images_and_layers_are_refused():
    with pytest.raises(UserError, match="multiples of 4"):
        encoder()(images(22, 24))
    with pytest.raises(UserError, match="convert them"):
        encoder()(images()[:, :1])
    with pytest.raises(UserError, match="layers 0 to 2"):
        encoder()(images(), layers=(3,))
    with pytest.raises(UserError, match="pool"):
        encoder(class_token=False)
    with pytest.raises(UserError, match="divide into patches"):
        VitEncoder(image_size=26, patch=4, width=16, depth=1, heads=2)


def test_saved_and_loaded(tmp_path):
    built = encoder(classes=3)
    built.save_pretrained(tmp_path)
    assert_close(VitEncoder.from_pretrained(tmp_path)(images()).patches, built(images()).patches)


def test_training_reaches_every_parameter_with_merging():
    built = encoder(drop_path=0.1, classes=3, layer_scale=1.0).train()
    built.classify(images(), merging=Merging(remove=4)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in built.parameters())
