"""Every layer of an encoder: closed forms, independence of batches, encoders without maps."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from mimgen.analysis import (
    analyse,
    attention_distance,
    attention_nmi,
    between_images,
    cross_cka,
    depth_similarity,
    effective_rank,
    has_attention,
    late,
    run_encoder,
    signs,
    stable_rank,
    token_similarity,
)
from mimgen.encoders import VitEncoder
from mimgen.errors import UserError
from mimgen.types import Tokens


@pytest.fixture(scope="module")
def vit() -> VitEncoder:
    torch.manual_seed(0)
    encoder = VitEncoder(image_size=16, patch=4, width=16, depth=2, heads=2, drop_path=0.5)
    for block in encoder.blocks:  # far from its start, where attention is uniform
        nn.init.normal_(block.attn.qkv.weight, std=0.5)
    return encoder.train()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(1))


class Plain:
    """Patches of pixels; `depth` copies of them as levels."""

    dim, patch = 48, 4

    def __init__(self, depth: int = 0, scale: float = 1.0) -> None:
        self.depth, self.scale = depth, scale

    def __call__(self, images: Tensor, /, *, layers: Sequence[int] = ()) -> Tokens:
        patches = nn.functional.pixel_unshuffle(images * self.scale, 4).flatten(2).mT
        grid = (images.shape[2] // 4, images.shape[3] // 4)
        return Tokens(patches, grid, patches[:, :0], tuple(patches for _ in layers))


class Windowed(Plain):
    """Says it has maps and raises when asked, as adapters of other libraries do."""

    def __init__(self) -> None:
        super().__init__(1)

    def __call__(self, images: Tensor, /, *, layers: Sequence[int] = (), attention: Sequence[int] = ()) -> Tokens:
        if attention:
            raise UserError("no maps")
        return super().__call__(images, layers=layers)


def test_ranks_of_known_spectra() -> None:
    values = torch.tensor([[2.0, 2, 2, 0], [3, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.float64)
    assert effective_rank(values).tolist() == pytest.approx([3, 1, 0])
    assert stable_rank(values).tolist() == pytest.approx([3, 1, 0])
    assert float(stable_rank(torch.tensor([2.0, 1]))) == pytest.approx(5 / 4)


def test_similarities_by_hand() -> None:
    tokens = torch.tensor([[[1.0, 0], [0, 2], [3, 0]]])
    assert token_similarity(tokens).tolist() == pytest.approx([1 / 3])  # one pair of three is alike
    assert token_similarity(tokens[:, :1]).isnan().all()
    assert depth_similarity(tokens, tokens * 5).tolist() == pytest.approx([1])
    units = torch.tensor([[2.0, 0], [1, 1]])  # two images: the first place agrees, the second is at right angles
    assert float(between_images(units, 2)) == pytest.approx(0.5)


def test_measures_are_those_of_the_functions(vit: VitEncoder, images: Tensor) -> None:
    analysis = analyse(vit, images, batch_size=8)
    assert vit.training, "the encoder's mode is put back"
    assert analysis.layers == ("0", "1", "output")
    vit.eval()
    tokens = run_encoder(vit, images, attention=True)
    vit.train()
    distance = attention_distance(torch.stack(tokens.attention), (4, 4), 4)
    assert analysis.heads is not None and torch.allclose(analysis.heads, distance.mean(1))
    assert torch.allclose(analysis.images["attention_distance"][:2], distance.mean(2))
    nmi = attention_nmi(torch.stack(tokens.attention))
    assert torch.allclose(analysis.images["attention_nmi"][:2], nmi.mean(2))
    assert analysis.images["attention_nmi"][2].isnan().all()
    assert torch.allclose(analysis.images["token_similarity"][2], token_similarity(tokens.patches))
    assert analysis.uniform_distance == pytest.approx(float(attention_distance(torch.ones(17, 17), (4, 4), 4)))
    assert late(analysis, "attention_nmi") == pytest.approx(float(nmi[1].mean()))
    assert torch.allclose(analysis.cka.diagonal(), torch.ones(3, dtype=torch.float64))


def test_order_and_batches_change_no_measure(vit: VitEncoder, images: Tensor) -> None:
    first = analyse(vit, images, batch_size=8)
    second = analyse(vit, images[torch.randperm(20, generator=torch.Generator().manual_seed(3))], batch_size=20)
    for name, values in first.means().items():
        assert torch.allclose(values, second.means()[name], rtol=1e-4, equal_nan=True), name
    assert torch.allclose(first.fourier[1], second.fourier[1], rtol=1e-4)
    assert torch.allclose(first.image_values[2], second.image_values[2], rtol=1e-3)


def test_encoders_without_maps_or_layers_are_measured_all_the_same(images: Tensor) -> None:
    for encoder in (Plain(), Windowed()):
        analysis = analyse(encoder, images)
        assert analysis.heads is None and analysis.images["attention_nmi"].isnan().all()
        assert any("no attention maps" in text for text in analysis.warnings)
        assert analysis.images["token_rank"].isfinite().all()
    assert not has_attention(Plain(2)) and has_attention(Windowed())
    assert torch.allclose(analyse(Plain(2), images).images["depth_similarity"][1:], torch.ones(2, 20).double())


def test_what_the_numbers_cannot_say_is_said(images: Tensor) -> None:
    wide = torch.rand(8, 3, 8, 16)
    assert any("not square" in text for text in analyse(Plain(), wide).warnings)
    few = analyse(Plain(), images)
    assert any("at most 19 directions and a token has 48" in text for text in few.warnings)
    same = analyse(Plain(), images[:1].expand(8, -1, -1, -1))
    assert any("look the same to layers output" in text for text in same.warnings)
    assert float(same.overall["image_rank"][0]) == 0 and same.cka.isnan().all()


def test_two_encoders_agree_up_to_scale_and_signs_are_reported(vit: VitEncoder, images: Tensor) -> None:
    assert torch.allclose(cross_cka(Plain(), images, Plain(1, 3.0)), torch.ones(1, 2).double())
    assert cross_cka(vit, images, Plain(), batch_size=10).shape == (3, 1)
    torch.manual_seed(0)
    fresh = analyse(VitEncoder(image_size=16, patch=4, width=16, depth=2, heads=2), images)
    reported = signs(fresh, analyse(vit, images))
    assert reported["attention_nmi"].contrastive == "first"  # attention of fresh weights is uniform: NMI about 0
    assert reported["attention_nmi"].first < 1e-3 < reported["attention_nmi"].second
    assert reported["attention_distance"].first == pytest.approx(1, abs=1e-3)
    assert "attention_nmi" not in signs(fresh, analyse(Plain(), images))
    assert signs(fresh, fresh)["high_frequency"].contrastive == "neither"


def test_bad_input_is_refused(images: Tensor) -> None:
    with pytest.raises(UserError, match="four or more"):
        analyse(Plain(), images[:3])
    with pytest.raises(UserError, match="give 8 or more"):
        analyse(Plain(), images, batch_size=4)
    with pytest.raises(UserError, match="the output of this encoder gives NaN"):
        analyse(Plain(scale=torch.nan), images)
    with pytest.raises(UserError, match="must see the same"):
        cross_cka(Plain(), images, Plain(), images[:10])
