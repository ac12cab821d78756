"""MergeVQ: what merging must keep, one tokenizer for many keep counts, recovery, and clear errors."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.tokenizers.contract import Tokenizer
from mimgen.tokenizers.mergevq import MergeVQ, hard_source, recovery_loss


def build(**options: object) -> MergeVQ:
    """8 x 8 tokens at 16 px."""
    torch.manual_seed(0)
    arguments = {
        "resolution": 16, "channels": 8, "multipliers": (1, 2), "blocks": 1, "bits": 6, "layers": 3, "heads": 2,
        "keep": 25, "candidates": "gaussian-3", "rep_dim": 5,
        "recovery_layers": 1, "recovery_width": 16, "recovery_heads": 2,
    }  # fmt: skip
    return MergeVQ(**{**arguments, **options}).eval()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tokenizer() -> MergeVQ:
    return build()


def make_images(height: int = 16, width: int = 16) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_every_position_has_one_group_and_sizes_add_up(tokenizer: MergeVQ) -> None:
    assert tokenizer.keep_counts == (9, 16, 25, 36, 49, 64)
    for keep in tokenizer.keep_counts:
        merged = tokenizer.merge(make_images(), keep)
        assert merged.source.shape == (2, keep, 64) and merged.indices.shape == (2, keep)
        assert (merged.source.sum(1) == 1).all()
        assert torch.equal(merged.encoded.sizes, merged.source.sum(2).float())
        assert (merged.encoded.sizes.sum(1) == 64).all() and (merged.encoded.sizes >= 1).all()


@torch.no_grad()
def test_the_class_token_is_never_merged(tokenizer: MergeVQ) -> None:
    merged = tokenizer.merge(make_images(), 9).encoded.merged
    alone = torch.zeros(2, 65, dtype=torch.bool)
    alone[:, 0] = True
    assert torch.equal(merged.source[:, 0], alone) and torch.equal(merged.source[:, :, 0], alone[:, :10])


@torch.no_grad()
def test_spread_codes_are_the_group_codes(tokenizer: MergeVQ) -> None:
    merged = tokenizer.merge(make_images(), 16)
    group = merged.source.int().argmax(1)
    assert torch.equal(merged.codes.indices.flatten(1), merged.indices.gather(1, group))
    expected = merged.latents.gather(2, group[:, None].expand(-1, 6, -1)).unflatten(2, (8, 8))
    assert torch.equal(merged.codes.latents, expected)
    assert merged.codes.source is not None and merged.codes.source.shape == (2, 16, 64)
    means = (merged.source.float() @ torch.arange(64.0)[:, None]) / merged.encoded.sizes[..., None]
    again = tokenizer.unmerge(means.transpose(1, 2), merged.source, (8, 8)).flatten(1)
    assert torch.equal(again, means[..., 0].gather(1, group))


@torch.no_grad()
def test_one_tokenizer_serves_all_keep_counts_and_remembers_none(tokenizer: MergeVQ) -> None:
    assert isinstance(tokenizer, Tokenizer)
    first = tokenizer.encode(make_images(), 25)
    before = tokenizer.decode(first.indices)
    tokenizer.encode(make_images().flip(3), 9)
    assert torch.equal(tokenizer.decode(first.indices), before)
    assert torch.equal(tokenizer.encode(make_images()).indices, first.indices)
    torch.testing.assert_close(tokenizer.decode(first), before)


def test_the_state_dict_does_not_depend_on_the_keep_count() -> None:
    states = [build(keep=keep, candidates=None).state_dict() for keep in (16, 25, 64)]
    shapes = [{name: value.shape for name, value in state.items()} for state in states]
    assert shapes[0] == shapes[1] == shapes[2]


@torch.no_grad()
def test_other_grids_keep_the_same_share(tokenizer: MergeVQ) -> None:
    codes = tokenizer.encode(make_images(32, 16))
    assert codes.indices is not None and codes.indices.shape == (2, 16, 8)
    assert codes.source is not None and codes.source.shape == (2, 49, 128)
    assert tokenizer.represent(make_images(12, 12), 9).shape == (2, 5)


@torch.no_grad()
def test_kept_codes_decode_with_their_source(tokenizer: MergeVQ) -> None:
    merged = tokenizer.merge(make_images(), 25)
    expected = tokenizer.decode(merged.codes)
    torch.testing.assert_close(tokenizer.decode_merged(merged.indices, merged.source), expected)
    torch.testing.assert_close(tokenizer.decode_merged(merged.latents, merged.source, (8, 8)), expected)
    recovered = tokenizer.decode_merged(merged.indices)
    predicted = hard_source(tokenizer.recover(merged.latents))
    assert (predicted.sum(1) == 1).all()
    torch.testing.assert_close(recovered, tokenizer.decode_merged(merged.indices, predicted))


@pytest.mark.parametrize("form", ["binary", "categorical"])
def test_recovery_learns_the_source(tokenizer: MergeVQ, form: str) -> None:
    with torch.no_grad():
        merged = tokenizer.merge(make_images(), 9)
    recovery = build().recovery
    assert recovery is not None
    # from the paper's start value of the queries, 1e-6, learning takes longer than a test may
    torch.nn.init.normal_(recovery.rec_tokens)
    optimizer = torch.optim.Adam(recovery.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        logits = recovery(merged.latents.transpose(1, 2))
        loss = recovery_loss(logits, merged.source, form)  # type: ignore[arg-type]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    right = (hard_source(logits) & merged.source).any(1).float().mean()
    assert right > 0.3


def test_recovery_loss_is_the_mean_binary_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 9, generator=generator)
    source = torch.nn.functional.one_hot(torch.randint(4, (2, 9), generator=generator), 4).transpose(1, 2)
    expected = torch.nn.functional.binary_cross_entropy(logits.softmax(1), source.float())
    torch.testing.assert_close(recovery_loss(logits, source), expected)
    sharp = torch.where(source.bool(), 50.0, -50.0).requires_grad_()
    recovery_loss(sharp, source).backward()
    assert sharp.grad is not None and torch.isfinite(sharp.grad).all()
    with pytest.raises(UserError, match="binary"):
        recovery_loss(logits, source, "l2")  # type: ignore[arg-type]


def test_sizes_are_those_of_the_paper() -> None:
    """Table 1 (G+R) and table A2, in millions of parameters; the head is not counted there."""
    with torch.device("meta"):
        tokenizer = MergeVQ(recovery_layers=2)

    def millions(part: torch.nn.Module | None) -> float:
        assert part is not None
        return sum(parameter.numel() for parameter in part.parameters()) / 1e6

    assert round(millions(tokenizer.encoder) - millions(tokenizer.encoder.dist_head), 1) == 62.7
    assert round(millions(tokenizer.decoder), 1) == 83.4
    assert round(millions(tokenizer.recovery)) == 7


def test_gradients_reach_every_half() -> None:
    tokenizer = build(head="layer2", rep_layers=1, recovery_layers=0).train()
    made, codes = tokenizer(make_images(), 16)
    assert set(codes.losses) == {"commitment", "entropy"}
    loss = (made - make_images()).square().mean() + sum(codes.losses.values())
    (loss + tokenizer.represent(make_images()).square().mean()).backward()
    missing = [name for name, p in tokenizer.named_parameters() if p.grad is None]
    assert not missing


@torch.no_grad()
def test_wrong_input_names_the_fix(tokenizer: MergeVQ) -> None:
    with pytest.raises(UserError, match=r"only 64 tokens.*keep one of 9, 16"):
        tokenizer.encode(make_images(), 81)
    with pytest.raises(UserError, match="square; keep one of 9, 16"):
        tokenizer.encode(make_images(), 20)
    with pytest.raises(UserError, match=r"halves.*keep one of 9, 16"):
        tokenizer.encode(make_images(), 4)
    with pytest.raises(UserError, match="multiples of 2"):
        tokenizer.encode(make_images(15, 16))
    with pytest.raises(UserError, match="another tokenizer"):
        tokenizer.decode_merged(torch.full((1, 9), 64), torch.ones(1, 9, 64))
    with pytest.raises(UserError, match="give the source of these codes and the grid"):
        tokenizer.decode_merged(torch.zeros(1, 9, dtype=torch.int64), torch.ones(1, 16, 64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 20}, "square"),
        ({"candidates": "gaussian-9"}, "only 64 tokens"),
        ({"candidates": "poisson-3"}, "gaussian, exponential or uniform"),
        ({"candidates": "gaussian"}, "for example"),
        ({"head": "layer9"}, "layer2"),
        ({"blocks": (1, 1, 1)}, "one of each level"),
        ({"resolution": 15}, "multiple of 2"),
        ({"recovery_heads": 3}, "recovery width"),
    ],
)
def test_options_that_do_not_fit_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(**options)


@torch.no_grad()
def test_without_head_or_recovery_the_message_says_how_to_get_one() -> None:
    tokenizer = build(head=None, recovery_layers=0)
    with pytest.raises(UserError, match="layer3"):
        tokenizer.represent(make_images())
    with pytest.raises(UserError, match="recovery_layers=2"):
        tokenizer.decode_merged(torch.zeros(1, 9, dtype=torch.int64))
