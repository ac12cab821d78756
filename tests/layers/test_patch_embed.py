"""Patches that are asked for come out as if all had been embedded."""

import torch

from mimgen.layers import PatchEmbed
from mimgen.methods.latentmim.networks import LinearPatchEmbed


def images() -> torch.Tensor:
    return torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))


def test_asked_patches_are_those_of_all() -> None:
    torch.manual_seed(0)
    keep = torch.tensor([[5, 0, 3], [1, 2, 4]])
    for embed in (PatchEmbed(4, 6), LinearPatchEmbed(4, 6)):
        every = embed(images())
        assert every.shape == (2, 6, 6)
        requested = embed(images(), keep)
        torch.testing.assert_close(requested, every.gather(1, keep[..., None].expand(-1, -1, 6)), atol=1e-6, rtol=1e-5)


def test_other_patches_change_nothing() -> None:
    embed, keep = PatchEmbed(4, 6), torch.tensor([[0, 1], [0, 1]])
    changed = images()
    changed[:, :, 4:] = 0.5  # the second row of patches
    assert torch.equal(embed(images(), keep), embed(changed, keep))
