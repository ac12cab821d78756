import pytest
import torch

from mimgen.errors import UserError
from mimgen.tokenizers.losses import (
    LeCam,
    adaptive_weight,
    discriminator_loss,
    entropy_weight,
    generator_loss,
)
from mimgen.tokenizers.perceptual import BLOCKS, Perceptual, open_perceptual

KINDS = ("hinge", "vanilla", "non_saturate")


@pytest.mark.parametrize("kind", KINDS)
def test_each_side_prefers_its_own_win(kind):
    high, low = torch.full((2, 1, 3, 3), 0.5), torch.full((2, 1, 3, 3), -0.5)
    assert discriminator_loss(kind, high, low) < discriminator_loss(kind, low, high)
    assert generator_loss(kind, high) < generator_loss(kind, low)


def test_sigmoid_terms_by_hand():
    real, fake = torch.tensor([[1.0, 3.0]]), torch.tensor([[-2.0, 0.0]])
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    ones, zeros = torch.ones(1, 2), torch.zeros(1, 2)
    expected = 0.5 * (entropy(real, ones) + entropy(fake, zeros))
    assert discriminator_loss("vanilla", real, fake) == pytest.approx(float(expected))
    assert generator_loss("vanilla", fake) == pytest.approx(float(entropy(fake, ones)))
    # non-saturating: the logits of an image are averaged first
    means = real.mean(1, keepdim=True), fake.mean(1, keepdim=True)
    expected = 0.5 * (entropy(means[0], ones[:, :1]) + entropy(means[1], zeros[:, :1]))
    assert discriminator_loss("non_saturate", real, fake) == pytest.approx(float(expected))
    assert generator_loss("non_saturate", fake) == pytest.approx(float(entropy(means[1], ones[:, :1])))


def test_hinge_by_hand():
    real, fake = torch.tensor([[2.0], [0.0]]), torch.tensor([[-0.5], [-3.0]])
    assert discriminator_loss("hinge", real, fake) == pytest.approx(0.5 * (0.5 + 0.25))


def test_lecam_moves_first_and_is_saved():
    lecam = LeCam(decay=0.5)
    real, fake = torch.full((2, 1), 2.0), torch.full((2, 1), -4.0)
    penalty = lecam(real, fake)
    assert lecam.state_dict()["ema"].tolist() == [1.0, -2.0]
    assert penalty == pytest.approx(4.0**2 + 5.0**2)
    lecam.eval()(real, fake)
    assert lecam.ema.tolist() == [1.0, -2.0]


def test_adaptive_weight_equalises_gradient_norms_and_is_clamped():
    last = torch.ones(3, requires_grad=True)
    assert adaptive_weight((3 * last).sum(), last.sum(), last) == pytest.approx(3, rel=1e-3)
    assert adaptive_weight((1e9 * last).sum(), 0 * last.sum(), last) == 1e4


def test_enlargement():
    assert entropy_weight(0, 3) == 4
    assert entropy_weight(700, 3) == pytest.approx(1 + 3 * 0.65)
    assert entropy_weight(5000, 3) == 1


def perceptual_files():
    generator = torch.Generator().manual_seed(0)
    network, heads, before = {}, {}, 3
    for block, (width, positions) in enumerate(zip((64, 128, 256, 512, 512), BLOCKS)):
        for position in positions:
            network[f"features.{position}.weight"] = 0.05 * torch.randn(width, before, 3, 3, generator=generator)
            network[f"features.{position}.bias"] = torch.zeros(width)
            before = width
        heads[f"lin{block}.model.1.weight"] = torch.rand(1, width, 1, 1, generator=generator)
    return network, heads


def test_perceptual_from_disk(tmp_path):
    network, heads = perceptual_files()
    torch.save(network, tmp_path / "vgg16-397923af.pth")
    with pytest.raises(UserError, match="lpips"):
        open_perceptual(tmp_path)
    torch.save(heads, tmp_path / "vgg.pth")
    perceptual = open_perceptual(tmp_path)
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert perceptual(image, image).tolist() == [0, 0]
    near, far = perceptual(image, 0.9 * image), perceptual(image, -image)
    assert (far > near).all()
    assert (near > 0).all()
    assert not perceptual.state_dict()
    assert not list(perceptual.parameters())


def test_perceptual_agrees_with_torchvision():
    from torchvision.models import vgg16

    network, heads = perceptual_files()
    perceptual = Perceptual(network, heads)
    reference = vgg16(weights=None).features.eval()
    reference.load_state_dict({name.removeprefix("features."): value for name, value in network.items()})
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    masked = (image - perceptual.shift) / perceptual.scale
    with torch.no_grad():
        for layer in reference[:30]:
            masked = layer(masked)
        masked = masked / masked.norm(dim=1, keepdim=True)
        torch.testing.assert_close(perceptual._features(image)[-1], masked)


def test_absent_perceptual_weights_are_said(caplog, tmp_path):
    assert open_perceptual(None) is None
    assert "no perceptual loss" in caplog.text
    with pytest.raises(UserError, match="vgg16"):
        open_perceptual(tmp_path)
