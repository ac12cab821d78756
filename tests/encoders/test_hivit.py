"""HiViT and its neck: shapes, what masked patches reach, levels, and that the neck travels by name."""

import pytest
import torch

from mimgen.encoders.hivit import HiVitEncoder, stretched_table
from mimgen.encoders.neck import Neck
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.probing.layer_decay import block_lists
from mimgen.types import Mask, SampleRNG

SIZES = {"image_size": 32, "patch": 8, "width": 32, "mlp_depths": (1, 2), "depth": 2, "heads": 2, "neck_width": 16}


def encoder(**options):
    torch.manual_seed(0)
    return HiVitEncoder(**{**SIZES, **options}).eval()


def make_images(side=32):
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def repainted(images, position, patch=8, grid=4):
    """The same with patch `position` of the first image in another colour."""
    row, column = patch * (position // grid), patch * (position % grid)
    other = images.clone()
    other[0, :, row : row + patch, column : column + patch] = 0.5
    return other


def mask():
    return Random()((4, 4), SampleRNG([0, 1]))


def test_pyramid_shapes_and_maps():
    tokens = encoder().pyramid(make_images())
    assert [tuple(level.shape) for level in tokens.pyramid] == [
        (2, 16, 1, 1, 16), (2, 16, 2, 2, 16), (2, 16, 4, 4, 16),
    ]  # fmt: skip
    assert [tuple(plane.shape) for plane in tokens.maps()] == [(2, 16, 4, 4), (2, 16, 8, 8), (2, 16, 16, 16)]
    # patch 6 is in row 1, column 2; its unit (3, 1) in row 7, column 9 of the finest map
    assert torch.equal(tokens.maps()[2][:, :, 7, 9], tokens.pyramid[2][:, 6, 3, 1])
    assert encoder().pyramid(make_images(), mask()).pyramid[1].shape == (2, 4, 2, 2, 16)
    with pytest.raises(UserError, match="leave the mask out"):
        encoder().pyramid(make_images(), mask()).maps()


@pytest.mark.parametrize("relative", [False, True])
def test_masked_patches_left_out_reach_nothing(relative):
    looks, chosen, images = encoder(relative=relative), mask(), make_images()
    other = repainted(images, int(chosen.drop[0, 0]))
    for level, same in zip(looks.pyramid(images, chosen).pyramid, looks.pyramid(other, chosen).pyramid):
        assert torch.equal(level, same)
    seen = repainted(images, int(chosen.keep[0, 0]))
    assert not torch.equal(looks(images, chosen).patches[0], looks(seen, chosen).patches[0])


@pytest.mark.parametrize("relative", [False, True])
def test_a_mask_that_hides_nothing_changes_nothing(relative):
    looks, images = encoder(relative=relative), make_images()
    nothing = Mask(torch.zeros(2, 16, dtype=torch.bool))
    torch.testing.assert_close(looks(images, nothing).patches, looks(images).patches)


def test_the_mask_token_hides_from_the_attention_but_not_from_the_finer_levels():
    looks, chosen, images = encoder(mask_token=True), mask(), make_images()
    position = int(chosen.drop[0, 0])
    before, after = looks.pyramid(images, chosen), looks.pyramid(repainted(images, position), chosen)
    assert before.patches.shape == (2, 16, 32)
    assert torch.equal(before.patches, after.patches) and torch.equal(before.pyramid[0], after.pyramid[0])
    changed = (before.pyramid[1] != after.pyramid[1]).flatten(2).any(2)
    assert changed.nonzero().tolist() == [[0, position]]


def test_the_neck_loads_downstream_by_name():
    trained = encoder()
    downstream = Neck(32, 16)
    named = {k.removeprefix("neck."): v for k, v in trained.state_dict().items() if k.startswith("neck.")}
    downstream.load_state_dict(named, strict=True)
    tokens = trained.pyramid(make_images())
    again = downstream(tokens.patches[:, :, None, None], tokens.finer)
    assert all(torch.equal(a, b) for a, b in zip(again, tokens.pyramid))
    assert isinstance(encoder(neck_width=32).neck.top, torch.nn.Identity)
    assert len(encoder(levels=2).pyramid(make_images()).pyramid) == 2
    bare = encoder(neck_width=0).pyramid(make_images())
    assert torch.equal(bare.pyramid[0][:, :, 0, 0], bare.patches)


def test_layers_are_blocks_of_all_kinds():
    looks = encoder()
    # 1 block, merge, 2 blocks, merge, 2 blocks with attention
    assert (looks.depth, looks.stem) == (7, 5)
    assert block_lists(looks) == ["blocks"]
    tokens = looks(make_images(), layers=(0, 3, -1))
    # units side by side: 16 units of 8, 4 units of 16, 1 of 32
    assert [tuple(level.shape) for level in tokens.levels] == [(2, 16, 128), (2, 16, 64), (2, 16, 32)]
    assert torch.equal(tokens.levels[2], tokens.patches)
    assert torch.equal(tokens.levels[0], tokens.finer[0].flatten(2))
    with pytest.raises(UserError, match="layer 7"):
        looks(make_images(), layers=(7,))


def test_other_sizes_and_classes(tmp_path):
    looks = encoder(classes=5)
    assert looks(make_images(48)).grid == (6, 6)
    assert looks.classify(make_images()).shape == (2, 5)
    looks.save_pretrained(tmp_path)
    assert torch.equal(HiVitEncoder.from_pretrained(tmp_path).classify(make_images()), looks.classify(make_images()))
    with pytest.raises(UserError, match="32 x 32"):
        encoder(relative=True)(make_images(48))
    with pytest.raises(UserError, match="classes="):
        encoder().classify(make_images())
    with pytest.raises(UserError, match="divide"):
        HiVitEncoder(image_size=30, patch=8)
    with pytest.raises(UserError, match="2 or 3"):
        encoder(levels=4)


def test_the_releases_stretched_positions_matter_only_where_patches_are_left_out():
    plain, stretched, images = encoder(), encoder(stretched=True), make_images()
    assert torch.equal(plain(images).patches, stretched(images).patches)
    assert not torch.equal(plain(images, mask()).patches, stretched(images, mask()).patches)
    # a table that rises by 1 a column rises by 4 / 4.1 inside the stretched one
    ramp = torch.arange(12.0).expand(12, 12).flatten()[None, :, None]
    rows = stretched_table(ramp, (12, 12)).unflatten(1, (12, 12))[0, 5, :, 0]
    torch.testing.assert_close(rows.diff()[3:8], torch.full((5,), 12 / 12.1), atol=2e-2, rtol=0)
