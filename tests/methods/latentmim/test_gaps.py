"""Patches with gaps: no pixel belongs to two patches, and without gaps nothing changes."""

import torch

from mimgen.methods.latentmim.gaps import without_gaps


def test_each_patch_comes_from_its_own_cell():
    numbers = torch.arange(2 * 15 * 10).float().view(2, 1, 15, 10)  # cells of 5: patches of 3 with a gap of 2
    offsets = torch.randint(3, (2, 2, 3, 2), generator=torch.Generator().manual_seed(0))
    cut = without_gaps(numbers, offsets, 3, 2)
    assert cut.shape == (2, 1, 9, 6)
    assert len(cut.unique()) == cut.numel(), "no pixel belongs to two patches"
    for image in range(2):
        for row in range(3):
            for column in range(2):
                top, left = (int(offsets[image, axis, row, column]) for axis in range(2))
                cell = numbers[image, 0, 5 * row :, 5 * column :][:5, :5]
                expected = cell[top : top + 3, left : left + 3]
                got = cut[image, 0, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
                assert torch.equal(got, expected)


def test_without_gap_the_images_stay():
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(without_gaps(images, torch.zeros(2, 2, 2, 2, dtype=torch.int64), 4, 0), images)
