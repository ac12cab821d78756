"""ResNet with a token inside: equal to torchvision's, unchanged by an empty mask, and what each kind of token does."""

import pytest
import torch

from mimgen.encoders.resnet import ResNetEncoder
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.types import Mask

SMALL = {"depth": 18, "stem": 8, "width": 4, "strides": (1, 1, 2, 1), "mask_stage": 2}


def encoder(**options):
    torch.manual_seed(0)
    return ResNetEncoder(**{**SMALL, **options}).train()


def make_images(count=2, side=16):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def half(cells=16):
    return Mask(torch.arange(cells).expand(2, -1) < cells // 2)


@pytest.mark.parametrize(("depth", "name"), [(18, "resnet18"), (50, "resnet50")])
def test_it_is_torchvisions_network(depth, name):
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)().eval()
    ours = ResNetEncoder(depth).eval()
    weights = {key: value for key, value in theirs.state_dict().items() if not key.startswith("fc.")}
    missing, unexpected = ours.load_state_dict(weights, strict=False)
    assert (missing, unexpected) == (["mask_token"], [])
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        tokens = ours(images, layers=[-1])
        theirs.fc = torch.nn.Identity()
        expected = theirs((images - ours.mean) / ours.std)
    torch.testing.assert_close(tokens.patches.mean(1), expected)
    assert torch.equal(tokens.levels[0], tokens.patches)
    assert (tokens.grid, ours.dim, ours.patch, ours.mask_patch) == ((1, 1), expected.shape[1], 32, 16)


def test_an_empty_mask_changes_nothing():
    images, nothing = make_images(), Mask(torch.zeros(2, 16, dtype=torch.bool))
    for built, empty in ((encoder(), nothing), (encoder(gain=1e-6), nothing)):
        built.eval()
        assert torch.equal(built(images, empty).patches, built(images).patches)
    vit = VitEncoder(16, 4, 32, 1, 2, mask_token="add")
    torch.nn.init.normal_(vit.mask_token)
    torch.testing.assert_close(vit(images, nothing).patches, vit(images).patches)
    assert not torch.allclose(vit(images, half()).patches, vit(images).patches)


def test_the_token_acts_at_hidden_cells_only_and_before_its_stage_only():
    built = encoder().eval()
    seen = {}
    built.layer3.register_module("0", Spy(built.layer3[0], seen))
    torch.nn.init.normal_(built.mask_token)
    tokens = built(make_images(), half(), layers=[0, 3, 4])
    plain = built(make_images(), layers=[0, 3, 4])
    assert torch.equal(tokens.levels[1], plain.levels[1])
    assert not torch.allclose(tokens.levels[2], plain.levels[2])
    before = plain.levels[1].transpose(1, 2).unflatten(2, (4, 4))
    expected = before + built.mask_token * half().masked.unflatten(1, (4, 4))[:, None]
    torch.testing.assert_close(seen["first"], expected)


class Spy(torch.nn.Module):
    """Remembers what first went into a module."""

    def __init__(self, inside, seen):
        super().__init__()
        self.inside, self.seen = inside, seen

    def forward(self, x):
        self.seen.setdefault("first", x)
        return self.inside(x)


@pytest.mark.parametrize("kind", ["learned", "batch_mean", "image_mean", "zero", "random"])
def test_kinds_of_token(kind):
    built = encoder(token=kind, replace=True)
    x = torch.randn(2, 8, 4, 4, requires_grad=True)
    masked = built._masked(x, half())
    flat = masked.detach().flatten(2)
    reported = {
        "batch_mean": x.mean((0, 2, 3))[:, None],
        "image_mean": x.mean((2, 3))[..., None],
        "zero": torch.zeros(8, 1),
    }.get(kind, built.mask_token[0, :, 0])
    torch.testing.assert_close(flat[..., :8], reported.detach().expand(2, 8, 8))
    assert torch.equal(flat[..., 8:], x.detach().flatten(2)[..., 8:])
    assert built.mask_token.requires_grad == (kind == "learned")
    if kind == "batch_mean":
        torch.testing.assert_close(built.mask_token.flatten(), x.detach().mean((0, 2, 3)))
    masked[..., :2, :].sum().backward()
    assert (x.grad.abs().sum() > 0) == (kind == "image_mean")


def test_detached_features_give_no_gradient_and_the_gain_starts_small():
    x = torch.randn(2, 8, 4, 4, requires_grad=True)
    built = encoder(detach=True, gain=1e-6)
    out = built._masked(x, half())
    torch.testing.assert_close(out[:, :, :2], (1e-6 * x + built.mask_token)[:, :, :2])
    out.sum().backward()
    assert x.grad[:, :, :2].abs().sum() == 0
    assert x.grad[:, :, 2:].abs().sum() > 0
    assert built.token_gain.grad.abs().sum() > 0


def test_it_is_saved_and_mistakes_are_named(tmp_path):
    built = encoder(gain=1e-6).eval()
    built.save_pretrained(tmp_path)
    again = ResNetEncoder.from_pretrained(tmp_path)
    assert torch.equal(again(make_images(), half()).patches, built(make_images(), half()).patches)
    with pytest.raises(UserError, match="choose from 18, 34"):
        ResNetEncoder(19)
    with pytest.raises(UserError, match="which lack number 4"):
        ResNetEncoder(18, mask_stage=4)
    with pytest.raises(UserError, match="token 'none' is unknown"):
        ResNetEncoder(18, token="none")
    with pytest.raises(UserError, match="multiples of 8"):
        built(make_images(side=12))
    with pytest.raises(UserError, match="mask cells of 4 pixels"):
        built(make_images(), half(4))
    with pytest.raises(UserError, match="layers 0 to 7"):
        built(make_images(), layers=[8])
