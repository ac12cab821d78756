"""The check of masks: the expected shape passes, another says what it is of."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.layers.masks import check_mask


def test_the_expected_shape_passes():
    check_mask(torch.zeros(2, 6, dtype=torch.bool), 2, 6)


@pytest.mark.parametrize("shape", [(2, 4), (1, 6), (2, 2, 3)])
def test_other_grids_and_images_are_named(shape):
    with pytest.raises(UserError, match="2 images of 6 patches: make one"):
        check_mask(torch.zeros(shape, dtype=torch.bool), 2, 6)
