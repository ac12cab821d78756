"""LatentMIM's networks: patches as a linear layer, the projector, and what a question is made of."""

import torch
import torch.nn.functional as F

from mimgen.layers.patch_embed import PatchEmbed
from mimgen.masking.random import Random
from mimgen.methods.latentmim.networks import LatentDecoder, LatentVit, LinearPatchEmbed, Projector
from mimgen.types import SampleRNG

SIZES = {"image_size": 16, "patch": 4, "width": 32, "depth": 2, "heads": 2, "head_width": 48}


def encoder(**options):
    torch.manual_seed(0)
    return LatentVit(**SIZES, **options).eval()


def test_the_linear_patches_are_a_convolution():
    torch.manual_seed(0)
    linear, kernel = LinearPatchEmbed(4, 8), PatchEmbed(4, 8)
    weight = linear.proj.weight.unflatten(1, (4, 4, 3)).permute(0, 3, 1, 2)
    kernel.load_state_dict({"proj.weight": weight, "proj.bias": linear.proj.bias})
    images = torch.rand(2, 3, 8, 12)
    torch.testing.assert_close(linear(images), kernel(images))


def test_probes_read_tokens_before_the_projector(tmp_path):
    vit, images = encoder(), torch.rand(2, 3, 16, 16)
    tokens, latents = vit(images, layers=(-1,)), vit.latents(images)
    torch.testing.assert_close(tokens.patches, vit.norm(tokens.levels[0]))
    torch.testing.assert_close(latents.patches, vit.projector(tokens.patches))
    torch.testing.assert_close(latents.prefix, vit.projector(tokens.prefix))
    vit.save_pretrained(tmp_path)
    again = LatentVit.from_pretrained(tmp_path)
    assert torch.equal(again.latents(images).patches, latents.patches)


def test_the_projector_is_linear_norm_gelu():
    torch.manual_seed(0)
    head, x = Projector(4, 6, 2), torch.randn(3, 4)
    inner = F.layer_norm(x @ head.linears[0].weight.T, (6,))
    torch.testing.assert_close(head(x), F.layer_norm(F.gelu(inner) @ head.linears[1].weight.T, (4,)))
    assert torch.equal(Projector(4, 6, 0)(x), x)


def test_a_question_is_the_mean_of_what_is_near():
    """With the blocks taken away, what differs between questions is the weighted mean and the position."""
    torch.manual_seed(0)
    vit, decoder = encoder(), LatentDecoder(16, 4, 32, 24, 0, 2)
    plain = LatentDecoder(16, 4, 32, 24, 0, 2, averaged=False)
    plain.load_state_dict(decoder.state_dict())
    assert not decoder.mask_token.any()
    images, mask = torch.rand(2, 3, 16, 16), Random(0.75)((4, 4), SampleRNG([0, 1]))
    tokens = vit.latents(images, mask)
    assert decoder(tokens, mask).shape == (2, 12, 32)
    table = decoder.pos_embed[0, 1:]
    row = 1
    scores = table[mask.drop[row]] @ table[mask.keep[row]].T / 24**0.5
    mean = scores.softmax(-1) @ decoder.embed(tokens.patches[row])
    expected = decoder.pred(decoder.norm(mean + table[mask.drop[row]]))
    torch.testing.assert_close(decoder(tokens, mask)[row], expected)
    without = plain.pred(plain.norm(table[mask.drop[row]]))
    torch.testing.assert_close(plain(tokens, mask)[row], without)
