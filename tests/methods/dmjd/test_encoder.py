"""ConViT: nothing leaks from masked patches, levels, other sizes, saving."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.dmjd.encoder import ConvVitEncoder
from mimgen.types import Mask, SampleRNG


def encoder(**options):
    torch.manual_seed(0)
    return ConvVitEncoder(16, (1, 2, 2), (4, 6, 8), (2, 1, 2), 2, **options).eval()


def test_hidden_pixels_influence_nothing():
    module, images = encoder(), torch.rand(2, 3, 16, 16)
    mask = Random(0.6)((4, 4), SampleRNG([0, 1]))
    cells = mask.masked.unflatten(1, (4, 4)).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    other = torch.where(cells, torch.rand(2, 3, 16, 16), images)
    tokens = module(images, mask)
    assert tokens.patches.shape == (2, mask.keep.shape[1], 8)
    assert torch.equal(tokens.patches, module(other, mask).patches)
    # without a mask neighbours do see each other, already in the convolutions
    assert not torch.equal(module(images).patches, module(other).patches)


def test_visible_neighbours_are_seen_through_convolutions():
    module = encoder()
    seen = torch.rand(1, 3, 16, 16, requires_grad=True)
    mask = Mask(torch.arange(16)[None] >= 2)
    normed = module.patch_embed1((seen - module.mean) / module.std)
    visible = torch.zeros(1, 1, 16, 16)
    visible[..., :4, :8] = 1
    module.blocks1[0](normed, visible)[0, :, :4, :4].sum().backward()
    assert seen.grad[..., :4, 4:6].abs().sum() > 0
    assert seen.grad[..., 4:, :].abs().sum() == 0
    assert module(seen, mask).patches.shape == (1, 2, 8)


def test_a_mask_that_hides_nothing_is_no_mask():
    module, images = encoder(), torch.rand(2, 3, 16, 16)
    everything = module(images, Mask(torch.zeros(2, 16, dtype=torch.bool)))
    torch.testing.assert_close(everything.patches, module(images).patches)


def test_levels_grid_and_all_stages_matter():
    module, images = encoder(), torch.rand(1, 3, 16, 24)
    tokens = module(images, layers=(0, -1))
    assert tokens.grid == (4, 6) and tokens.prefix.shape == (1, 0, 8)
    assert [level.shape for level in tokens.levels] == [(1, 24, 8)] * 2
    assert not torch.equal(*tokens.levels)
    (shown,) = module(images, attention=(-1,)).attention
    assert shown.shape == (1, 2, 24, 24)
    torch.testing.assert_close(shown.sum(-1), torch.ones(1, 2, 24))
    for stage in (module.stage1_output_decode, module.stage2_output_decode):
        before = module(images).patches
        torch.nn.init.zeros_(stage.weight)
        assert not torch.equal(module(images).patches, before)


def test_it_is_saved_and_loaded(tmp_path):
    module, images = encoder(stem_eps=1e-4), torch.rand(1, 3, 16, 16)
    module.save_pretrained(tmp_path)
    again = ConvVitEncoder.from_pretrained(tmp_path)
    assert (again.dim, again.depth, again.patch) == (8, 2, 4)
    assert torch.equal(again(images).patches, module(images).patches)


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match="layer 2 does not exist"):
        encoder()(torch.rand(1, 3, 16, 16), layers=(2,))
    with pytest.raises(UserError, match="multiples of 4"):
        encoder()(torch.rand(1, 3, 16, 18))
    with pytest.raises(UserError, match=r"takes images \[B, 3, H, W\]"):
        encoder()(torch.rand(1, 1, 16, 16))
    with pytest.raises(UserError, match="three stages"):
        ConvVitEncoder(16, (2, 2), (4, 6), (1, 1), 2)
    with pytest.raises(UserError, match="each of 3 channels"):
        encoder(mean=(0.5,))
