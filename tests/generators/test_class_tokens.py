"""Class-conditional masked tokens: what counts, dropped classes, messages, and that it learns."""

import pytest
import torch
import torch.nn.functional as F

from mimgen.errors import UserError
from mimgen.generators.class_tokens import ClassTokens
from mimgen.generators.maskgit.model import ClassTransformer
from mimgen.tokenizers import ConvTokenizer
from mimgen.types import Batch, Mask, SampleRNG

GENERATOR = torch.Generator().manual_seed(0)
TOKENS = torch.randint(0, 20, (3, 16), generator=GENERATOR)
LABELS = torch.tensor([0, 1, 2])
MASK = Mask(torch.rand(3, 16, generator=GENERATOR) < 0.5)
OFFICIAL_TIMESTEP_SCALE = torch.zeros(3, dtype=torch.bool)


def objective(**options: object) -> ClassTokens:
    torch.manual_seed(0)
    transformer = ClassTransformer(4, 20, 3, 24, 1, 3, 48, dropout=0.0)
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    tokenizer = ConvTokenizer(channels=8, multipliers=(1,), blocks=1, stem=4, quantizer="fsq", levels=(5, 4))
    return ClassTokens(transformer, tokenizer, **options)  # type: ignore[arg-type]


def batch(**changes: object) -> Batch:
    given: dict = {
        "images": torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1)),
        "captions": ("", "", ""),
        "keys": tuple("abc"),
        "rng": SampleRNG.for_rows(0, 0, range(3)),
        "labels": {"group": LABELS},
        "codes": TOKENS.view(3, 4, 4),
    }
    return Batch(**{**given, **changes})


@pytest.mark.parametrize("visible", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_weighted_mean(visible: float, smoothing: float) -> None:
    part = objective(visible_weight=visible, label_smoothing=smoothing)
    shown = torch.where(MASK.masked, part.transformer.mask_id, TOKENS)
    logs = part.transformer(shown, LABELS).log_softmax(-1)
    each = -(1 - smoothing) * logs.gather(2, TOKENS[..., None])[..., 0] - smoothing * logs.mean(-1)
    weight = torch.where(MASK.masked, 1.0, visible)
    expected = (each * weight).sum() / weight.sum()
    torch.testing.assert_close(part.losses(TOKENS, LABELS, MASK, OFFICIAL_TIMESTEP_SCALE).total, expected)


def test_dropped_classes_are_not_told() -> None:
    part, other = objective(), torch.tensor([2, 2, 0])
    reported, hushed = (part.losses(TOKENS, labels, MASK, OFFICIAL_TIMESTEP_SCALE).total for labels in (LABELS, other))
    assert not torch.allclose(reported, hushed)
    reported, hushed = (part.losses(TOKENS, labels, MASK, ~OFFICIAL_TIMESTEP_SCALE).total for labels in (LABELS, other))
    assert torch.equal(reported, hushed)


def test_a_share_of_classes_is_dropped() -> None:
    part, count = objective(drop_label=0.25), 2000
    reported = []

    def transformer(tokens: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        reported.append(labels)
        return F.one_hot(tokens.clamp(max=19), 20).float()

    part.transformer.forward = transformer
    part(
        batch(
            images=torch.zeros(count, 3, 4, 4),
            captions=("",) * count,
            keys=("",) * count,
            rng=SampleRNG(range(count)),
            labels={"group": torch.zeros(count, dtype=torch.long)},
            codes=torch.zeros(count, 4, 4, dtype=torch.long),
        )
    )
    assert float((reported[0] == 3).float().mean()) == pytest.approx(0.25, abs=0.03)


def test_same_batch_same_loss_with_codes_or_images() -> None:
    part = objective().train()
    assert not part.tokenizer.training
    assert torch.equal(part(batch()).total, part(batch()).total)
    codes = part.tokenizer.encode(batch().images).indices
    torch.testing.assert_close(part(batch(codes=None)).total, part(batch(codes=codes)).total)


def test_it_learns_the_class() -> None:
    part = objective(drop_label=0.0)
    codes = LABELS[:, None].expand(-1, 16).view(3, 4, 4)  # a class has one code
    optimiser = torch.optim.AdamW(part.transformer.parameters(), 1e-2)
    for step in range(60):
        optimiser.zero_grad()
        losses = part(batch(codes=codes, rng=SampleRNG.for_rows(0, step, range(3))))
        losses.total.backward()
        optimiser.step()
    everything = Mask(torch.ones(3, 16, dtype=torch.bool))
    assert float(part.losses(codes.flatten(1), LABELS, everything, OFFICIAL_TIMESTEP_SCALE).metrics["accuracy"]) == 1.0


def test_messages() -> None:
    with pytest.raises(UserError, match='no labels "group"'):
        objective()(batch(labels={"tone": LABELS}))
    with pytest.raises(UserError, match="drop_label=1"):
        objective(drop_label=1.0)
    with pytest.raises(UserError, match="visible_weight=-1"):
        objective(visible_weight=-1.0)
