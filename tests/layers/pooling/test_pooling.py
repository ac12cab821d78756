"""The poolings against closed forms, independent computations and each other."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.layers.pooling import (
    POOLING_NAMES,
    AbmilpPooling,
    CaitPooling,
    CbamPooling,
    ClipPooling,
    CocaPooling,
    EfficientPooling,
    JepaPooling,
    MultiheadPooling,
    ProbeHead,
    SimPool,
    pooling_named,
)

# layouts of an image matter to these
PLACED = ("clip", "cbam")


def tokens(batch: int = 3, count: int = 9, width: int = 16, seed: int = 0) -> Tensor:
    return torch.randn(batch, count, width, generator=torch.Generator().manual_seed(seed))


def made(name: str, width: int = 16, grid: tuple[int, int] = (3, 3)) -> torch.nn.Module:
    torch.manual_seed(0)
    return pooling_named(name, width, grid).eval()


def test_one_query_of_zeros_is_the_projected_mean() -> None:
    x, pooling = tokens(), EfficientPooling(16, queries=1)
    pooling.cls_token.data.zero_()
    assert torch.allclose(pooling(x), F.linear(x.mean(1), pooling.v.weight), atol=1e-6)


@pytest.mark.parametrize("bias", [False, True])
def test_efficient_pooling_is_the_papers_sum(bias: bool) -> None:
    """Project every token, cut the channels into slices, pool slice m with map m."""
    x, pooling = tokens(), EfficientPooling(16, queries=4, reduction=2, bias=bias)
    pooling.cls_token.data.normal_()
    values = pooling.v(x).double()
    queries = pooling.cls_token[0].double()
    slices = []
    for m in range(4):
        weights = (x.double() @ queries[m] / 16**0.5).softmax(1)
        slices.append(torch.einsum("bn,bnf->bf", weights, values[..., 2 * m : 2 * m + 2]))
    seen = pooling.pool_with_maps(x)
    assert torch.allclose(seen.vector.double(), torch.cat(slices, 1), atol=1e-5)
    assert torch.allclose(seen.maps[:, 3].double(), weights, atol=1e-6)


def test_the_parameter_count_is_the_papers_formula() -> None:
    width, queries, reduction, classes = 48, 6, 2, 7
    head = ProbeHead(EfficientPooling(width, queries, reduction), classes)
    out = width // reduction
    assert head.parameter_count == queries * width + width * out + (out + 1) * classes
    multihead = sum(parameter.numel() for parameter in MultiheadPooling(width, 12).parameters())
    assert multihead == width + 4 * (width * width + width)


def test_multihead_pooling_is_torchs_attention() -> None:
    pooling = MultiheadPooling(16, 4)
    pooling.query.data.normal_()
    reference = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    attn = pooling.attn
    reference.in_proj_weight.data = torch.cat([attn.q.weight, attn.kv.weight]).detach()
    reference.in_proj_bias.data = torch.cat([attn.q.bias, attn.kv.bias]).detach()
    reference.out_proj.load_state_dict(attn.proj.state_dict())
    x = tokens()
    expected, weights = reference(pooling.query.expand(3, -1, -1), x, x, average_attn_weights=False)
    seen = pooling.pool_with_maps(x)
    assert torch.allclose(seen.vector, expected[:, 0], atol=1e-5)
    assert torch.allclose(seen.attention, weights, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in POOLING_NAMES if name not in PLACED])
def test_the_order_of_tokens_does_not_matter(name: str) -> None:
    x, pooling = tokens(), made(name)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    seen, turned = pooling.pool_with_maps(x), pooling.pool_with_maps(x[:, order])
    assert torch.allclose(seen.vector, turned.vector, atol=1e-5)
    assert torch.allclose(seen.maps[..., order], turned.maps, atol=1e-6)


@pytest.mark.parametrize("name", PLACED)
def test_the_order_matters_where_places_are_known(name: str) -> None:
    x, pooling = tokens(), made(name)
    assert not torch.allclose(pooling(x), pooling(x.flip(1)), atol=1e-4)


@pytest.mark.parametrize("name", POOLING_NAMES)
def test_vector_and_maps_of_every_pooling(name: str) -> None:
    x, pooling = tokens(), made(name)
    seen = pooling.pool_with_maps(x)
    assert seen.vector.shape == (3, pooling.features)
    assert torch.allclose(pooling(x), seen.vector, atol=1e-6)
    assert seen.maps.shape[0] == 3 and seen.maps.shape[2] == 9
    assert torch.allclose(seen.maps.sum(2), torch.ones(seen.maps.shape[:2]), atol=1e-5)
    assert float(seen.maps.detach().min()) >= 0
    # a batch of one keeps its axis
    assert torch.allclose(pooling(x[:1]), seen.vector[:1], atol=1e-5)


@pytest.mark.parametrize("name", POOLING_NAMES)
def test_every_parameter_learns(name: str) -> None:
    head = ProbeHead(made(name), 3).train()
    head(tokens(6)).square().sum().backward()
    still = [key for key, value in head.named_parameters() if value.grad is None or not value.grad.abs().sum()]
    # a bias of keys or of the last score moves all scores of a query alike, which the softmax undoes
    assert [key for key in still if not key.endswith(("k.bias", "attention_predictor.2.bias"))] == []


def test_weighted_sum_of_abmilp() -> None:
    x = tokens()
    pooling = AbmilpPooling(16, "none", "relu", depth=3, positions=9)
    scores = pooling.attention_predictor(x + pooling.pos_embed)[..., 0]
    assert torch.allclose(pooling(x), (scores.softmax(1)[..., None] * x).sum(1), atol=1e-6)
    assert len([m for m in pooling.attention_predictor if isinstance(m, torch.nn.Linear)]) == 3


def test_abmilp_leaves_out_the_class_token() -> None:
    x = tokens(count=10)
    pooling = AbmilpPooling(16, "map", patches_only=True)
    changed = torch.cat([x[:, :1] + 5, x[:, 1:]], 1)
    assert torch.equal(pooling(x), pooling(changed))
    assert not pooling.maps(x)[..., 0].any()
    positions = AbmilpPooling(16, positions=10).pos_embed
    assert positions.shape == (1, 10, 16) and not positions[0, 0].any() and positions[0, 1].any()


def test_simpools_query_is_the_raw_mean() -> None:
    x, pooling = tokens() + 3, SimPool(16)
    normed = F.layer_norm(x, (16,), eps=1e-6)
    weights = ((x.mean(1) @ pooling.wq.weight.T)[:, None] @ pooling.wk(normed).transpose(1, 2) / 4).softmax(2)
    assert torch.allclose(pooling(x), (weights @ normed)[:, 0], atol=1e-5)


def test_small_branches_leave_cait_near_its_token() -> None:
    pooling = CaitPooling(16, layer_scale=0.0)
    expected = F.layer_norm(pooling.cls_token[0], (16,))
    assert torch.allclose(pooling(tokens()), expected.expand(3, -1), atol=1e-6)


def test_dimensions_beyond_the_defaults() -> None:
    assert CocaPooling(16, queries=5, heads=2, head_width=6).pool_with_maps(tokens()).attention.shape == (3, 2, 5, 9)
    assert ClipPooling(16, tokens=9, heads=2).pool_with_maps(tokens()).attention.shape == (3, 2, 10, 10)
    assert JepaPooling(16, heads=2).pool_with_maps(tokens()).attention.shape == (3, 2, 1, 9)
    assert CbamPooling(16, grid=(3, 4)).pool_with_maps(tokens(count=12)).attention.shape == (3, 1, 3, 4)
    assert pooling_named("efficient", 48, (3, 3)).queries == 16
    assert pooling_named("clip", 16, (2, 4), prefix=1)(tokens()).shape == (3, 16)


def test_misuse_is_named() -> None:
    with pytest.raises(UserError, match="do not divide width 48"):
        EfficientPooling(48, queries=32)
    with pytest.raises(UserError, match="5 heads"):
        MultiheadPooling(16, heads=5)
    with pytest.raises(UserError, match=r"got \[3, 9, 8\]"):
        EfficientPooling(16, queries=4)(tokens(width=8))
    with pytest.raises(UserError, match="made for 9 tokens, got 4"):
        ClipPooling(16, tokens=9)(tokens(count=4))
    with pytest.raises(UserError, match="no square grid"):
        CbamPooling(16)(tokens(count=10))
    with pytest.raises(UserError, match="choose from efficient"):
        pooling_named("medium", 16, (3, 3))
    with pytest.raises(UserError, match="map of patches"):
        pooling_named("dolg", 16, (3, 3), prefix=1)
    with pytest.raises(UserError, match="choose of"):
        AbmilpPooling(16, self_attention="all")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no square grid with or without"):
        AbmilpPooling(16, positions=12)
    with pytest.raises(UserError, match="10 tokens came"):
        AbmilpPooling(16, positions=9)(tokens(count=10))
