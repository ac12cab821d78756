"""Swin: windows, shifts, padding, the mask token; the numbers are pinned by the parity case of SimMIM."""

import pytest
import torch

from mimgen.encoders.swin import SwinEncoder
from mimgen.errors import UserError
from mimgen.layers.blocks.swin import SwinBlock, from_windows, relative_index, shifted_apart, windows
from mimgen.types import Mask


def encoder(**options):
    torch.manual_seed(0)
    usual = {"embed_patch": 2, "width": 8, "depths": (2, 1), "heads": (2, 4), "window": 4}
    return SwinEncoder(**{**usual, **options}).eval()


def test_windows_and_back():
    x = torch.arange(2 * 4 * 6 * 1.0).view(2, 4, 6, 1)
    cut = windows(x, 2)
    assert cut.shape == (2, 6, 4, 1)
    assert cut[0, 1, :, 0].tolist() == [2, 3, 8, 9]
    assert torch.equal(from_windows(cut, (4, 6), 2), x)


def test_the_index_tells_offsets_apart():
    index = relative_index(3)
    positions = [(row, column) for row in range(3) for column in range(3)]
    offsets = {}
    for i, (r, c) in enumerate(positions):
        for j, (s, d) in enumerate(positions):
            assert offsets.setdefault((r - s, c - d), int(index[i, j])) == int(index[i, j])
    assert len(set(offsets.values())) == 25


def test_a_block_sees_its_window_only_and_a_shifted_one_across():
    torch.manual_seed(0)
    x = torch.randn(1, 8, 8, 8, requires_grad=True)

    def reach(shift):
        block = SwinBlock(8, 2, 4, shift)
        (gradient,) = torch.autograd.grad(block(x)[0, 3, 3].sum(), x)
        return gradient[0].abs().sum(-1) > 0

    straight, shifted = reach(False), reach(True)
    assert straight.nonzero().amax(0).tolist() == [3, 3] and straight.sum() == 16
    assert shifted.nonzero().amin(0).tolist() == [2, 2] and shifted.nonzero().amax(0).tolist() == [5, 5]


def test_rolled_edges_do_not_meet():
    apart = shifted_apart((8, 8), 4, 2)
    assert not apart[0].any()  # inside the image
    last = apart[3].view(4, 4, 4, 4)
    assert last[0, 0, 0, 3] and last[0, 0, 3, 0] and not last[0, 0, 1, 1]


def test_grids_that_do_not_divide_are_padded():
    made = encoder()(torch.rand(2, 3, 12, 20))
    assert made.grid == (3, 5) and made.patches.shape == (2, 15, 16) and made.prefix.shape == (2, 0, 16)


def test_levels_and_the_output():
    tokens = encoder()(torch.rand(1, 3, 16, 16), layers=(0, -1))
    assert [level.shape for level in tokens.levels] == [(1, 64, 8), (1, 16, 16)]
    torch.testing.assert_close(encoder().norm(tokens.levels[1]), tokens.patches)
    with pytest.raises(UserError, match="layers 0 to 2"):
        encoder()(torch.rand(1, 3, 16, 16), layers=(3,))


def test_hidden_pixels_do_not_matter():
    masked = Mask(torch.arange(64)[None] < 3)
    images = torch.rand(1, 3, 16, 16)
    other = images.clone()
    other[:, :, :2, :6] = 0.3
    made = encoder()
    assert torch.equal(made(images, masked).patches, made(other, masked).patches)
    assert not torch.equal(made(images).patches, made(other).patches)
    with pytest.raises(UserError, match="patches of 2 pixels"):
        made(images, Mask(torch.zeros(1, 16, dtype=torch.bool)))


def test_a_saved_one_comes_back(tmp_path):
    made, images = encoder(), torch.rand(1, 3, 16, 16)
    made.save_pretrained(tmp_path)
    assert torch.equal(SwinEncoder.from_pretrained(tmp_path)(images).patches, made(images).patches)
    with pytest.raises(UserError, match="same stages"):
        encoder(heads=(2,))
