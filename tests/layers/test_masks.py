"""The check of masks: the expected shape passes, another says what it is of."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.layers.masks import check_hidden


def test_the_expected_shape_passes():
    check_hidden(torch.zeros(2, 6, dtype=torch.bool), 2, 6)


@pytest.mark.parametrize("shape", [(2, 4), (1, 6), (2, 2, 3)])
def test_other_grids_and_pictures_are_named(shape):
    with pytest.raises(UserError, match="2 pictures of 6 patches: make one"):
        check_hidden(torch.zeros(shape, dtype=torch.bool), 2, 6)
