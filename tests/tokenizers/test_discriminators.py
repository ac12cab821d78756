"""Every discriminator scores, saves, loads, learns, and says what it does not take."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.tokenizers.discriminators import (
    BlurDiscriminator,
    DinoDiscriminator,
    MaskBitDiscriminator,
    PatchDiscriminator,
    StyleDiscriminator,
    open_discriminator,
)
from mimgen.tokenizers.discriminators.blur import BlurPool
from mimgen.tokenizers.discriminators.dino import FrozenDino
from mimgen.tokenizers.discriminators.heads import GroupBatchNorm, SpectralConv
from mimgen.tokenizers.discriminators.stylegan import Blur
from mimgen.types import SampleRNG

KINDS = ("patch", "maskbit", "blur", "stylegan", "dino")


def images(count=2, pixels=16, seed=0):
    return 2 * torch.rand(count, 3, pixels, pixels, generator=torch.Generator().manual_seed(seed)) - 1


@pytest.fixture
def dino_file(tmp_path):
    """A small transformer's weights under the names of timm, with a classifier's head."""
    torch.manual_seed(0)
    tensors = {name: value for name, value in frozen().state_dict().items() if not name.startswith("x_")}
    tensors = {name: 0.2 * torch.randn_like(value) for name, value in tensors.items()}
    torch.save(tensors | {"head.weight": torch.zeros(2)}, tmp_path / "dino.pth")
    return tmp_path / "dino.pth"


def frozen():
    return FrozenDino(width=64, heads=1, depth=3, patch=8, mlp_ratio=2.0, pixels=32)


def loaded(kind, dino_file, pixels=16):
    torch.manual_seed(0)
    return open_discriminator(kind, pixels, dino_file if kind == "dino" else None)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_saving_and_loading(kind, dino_file, tmp_path):
    discriminator = loaded(kind, dino_file).eval()
    logits = discriminator(images())
    assert len(logits) == 2
    assert logits.isfinite().all()
    assert logits.std() > 0
    discriminator.save_pretrained(tmp_path / "part")
    again = type(discriminator).from_pretrained(tmp_path / "part")
    assert torch.equal(again(images()), logits)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_to_tell_images_apart(kind, dino_file):
    discriminator = loaded(kind, dino_file).train()
    weights = [p for p in discriminator.parameters() if p.requires_grad]
    real, fake = images(seed=1), images(seed=2) * 0.5
    gaps = []
    for _ in range(5):
        gap = discriminator(real).mean() - discriminator(fake).mean()
        gradients = torch.autograd.grad(gap, weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.add_(1e-3 * gradient.sign())
        gaps.append(float(gap.detach()))
    assert gaps[-1] > max(0.0, gaps[0])


@pytest.mark.parametrize("kind", ["patch", "maskbit", "blur", "stylegan"])
def test_an_image_is_judged_alone(kind, dino_file):
    discriminator = loaded(kind, dino_file).train()
    together = discriminator(images())
    apart = torch.cat([discriminator(image[None]) for image in images()])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


def test_sizes_by_name(dino_file):
    assert open_discriminator("patch", 256).config == {
        "channels": 64, "layers": 3, "norm": "group", "in_channels": 3
    }  # fmt: skip
    assert open_discriminator("patch", 64).config["channels"] == 32
    assert loaded("dino", dino_file).config["pixels"] == 32
    assert StyleDiscriminator(64, capacity=1024, widest=64).final_linear[0].in_features == 64 * 16


def test_what_does_not_suit_is_named(dino_file, tmp_path):
    with pytest.raises(UserError, match="dino_deitsmall16"):
        open_discriminator("dino", 64)
    with pytest.raises(UserError, match="no DINO weights at"):
        open_discriminator("dino", 64, tmp_path / "absent.pth")
    torch.save({"blocks.0.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not a DINO vision transformer"):
        open_discriminator("dino", 64, tmp_path / "other.pth")
    with pytest.raises(UserError, match="takes no weights"):
        open_discriminator("patch", 64, dino_file)
    with pytest.raises(UserError, match="choose from patch"):
        open_discriminator("patchgan", 64)
    with pytest.raises(UserError, match="8, 16, 32"):
        open_discriminator("stylegan", 48)
    with pytest.raises(UserError, match="takes 16 x 16 pixels, got 32 x 32"):
        loaded("stylegan", dino_file)(images(pixels=32))
    for kind, options in (
        (PatchDiscriminator, {"layers": 0}),
        (PatchDiscriminator, {"channels": 12, "norm": "group"}),
        (MaskBitDiscriminator, {"channels": 40}),
        (MaskBitDiscriminator, {"layers": 0}),
        (BlurDiscriminator, {"channels": 40}),
        (BlurDiscriminator, {"stages": 0}),
        (BlurDiscriminator, {"blur": True, "blur_size": 7}),
        (DinoDiscriminator, {"kernel": 4, "depth": 1}),
    ):
        with pytest.raises(UserError):
            kind(**options)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_patches(norm):
    discriminator = PatchDiscriminator(8, 2, norm)
    assert discriminator(images(pixels=32)).shape == (2, 1, 6, 6)
    assert discriminator.state_dict()["main.5.weight"].shape == (32, 16, 4, 4)


def test_blurs_keep_flat_images_flat():
    flat = torch.ones(1, 2, 8, 8)
    torch.testing.assert_close(Blur()(flat), flat)
    assert BlurPool(4)(flat).shape == (1, 2, 4, 4)
    torch.testing.assert_close(BlurPool(4)(flat)[:, :, 1:-1, 1:-1], flat[:, :, :2, :2])
    assert BlurDiscriminator(32, 2)(images()).shape == BlurDiscriminator(32, 2, blur=True)(images()).shape


def test_spectral_norm_bounds_the_largest_singular_value():
    torch.manual_seed(0)
    layer = SpectralConv(6, 5).train()
    with torch.no_grad():
        layer.weight_orig.mul_(30)
        layer.bias.zero_()
        for _ in range(100):
            layer(torch.zeros(1, 6, 4))
    matrix = layer.eval()(torch.eye(6)[None])[0]
    assert float(torch.linalg.matrix_norm(matrix.detach(), 2)) == pytest.approx(1, rel=1e-3)
    before = layer.weight_u.clone()
    layer(torch.zeros(1, 6, 4))
    assert torch.equal(layer.weight_u, before), "evaluation must not move the estimate"


def test_the_grouped_norm_takes_eight_images_at_a_time():
    x = torch.randn(16, 4, 3, generator=torch.Generator().manual_seed(0))
    norm = GroupBatchNorm(4)
    torch.testing.assert_close(norm(x), torch.cat([norm(x[:8]), norm(x[8:])]))
    assert norm(x).mean((0, 2)).abs().max() < 1e-6
    assert norm(x[:9]).shape == (9, 4, 3)


def test_dino_without_weights_refuses_to_judge():
    blank = DinoDiscriminator(width=64, heads=1, depth=2, readouts=(0,), patch=8, pixels=16)
    with pytest.raises(UserError, match="no DINO weights"):
        blank(images())


def test_dino_is_frozen_and_passes_gradients_to_the_images(dino_file):
    discriminator = loaded("dino", dino_file).train()
    before = {name: value.clone() for name, value in discriminator.dino.state_dict().items()}
    assert torch.equal(before["blocks.0.attn.qkv.bias"][64:128], torch.zeros(64))
    assert before["blocks.0.attn.qkv.bias"][:64].abs().sum() > 0
    image = images().requires_grad_()
    discriminator(image).mean().backward()
    assert image.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in discriminator.dino.parameters())
    # readouts 2, 5, 8, 11 of a transformer of three blocks: before the first and after the last
    assert discriminator(images()).shape == (2, 2 * 16)


def test_dino_crops_or_resizes_larger_images_by_their_own_streams(dino_file):
    discriminator = loaded("dino", dino_file)
    large, small = images(count=16, pixels=48), images(pixels=24)
    shown = discriminator.view(large, SampleRNG(range(16)))
    assert shown.shape == (16, 3, 32, 32)
    assert torch.equal(shown, discriminator.view(large, SampleRNG(range(16))))
    assert torch.equal(shown[3:5], discriminator.view(large[3:5], SampleRNG([3, 4])))
    resized = torch.nn.functional.interpolate(large, (32, 32), mode="area")
    whole = [torch.equal(a, b) for a, b in zip(shown, resized, strict=True)]
    assert 0 < sum(whole) < 16
    crop = shown[whole.index(False)]
    windows = large[whole.index(False)].unfold(1, 32, 1).unfold(2, 32, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
    assert (windows == crop).flatten(1).all(1).any()
    assert discriminator.view(small, SampleRNG(range(2))) is small
