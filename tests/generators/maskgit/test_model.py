"""Halton-MaskGIT's transformer: shapes, start, positions, saving, messages, and the sampler that drives it."""

from pathlib import Path

import pytest
import torch

from mimgen.errors import UserError
from mimgen.generators.maskgit.model import ClassTransformer, GatedMlp
from mimgen.sampling import Guidance, Halton, unmask
from mimgen.types import SampleRNG


def transformer(**changes: object) -> ClassTransformer:
    torch.manual_seed(0)
    numbers: dict = {"side": 4, "codebook_size": 20, "classes": 3, "width": 24, "depth": 2, "heads": 3, "hidden": 48}
    return ClassTransformer(**{**numbers, **changes}).eval()


def awake(**changes: object) -> ClassTransformer:
    """One whose blocks are no longer the identity."""
    model = transformer(**changes)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


TOKENS = torch.randint(0, 21, (2, 16), generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 2])


def test_blocks_start_as_the_identity() -> None:
    model = transformer()
    with torch.no_grad():
        first, other = model(TOKENS, LABELS), model(TOKENS, LABELS.flip(0))
        model.transformer["layers"][0].attn.wo.weight.zero_()  # type: ignore[index,union-attr]
        assert torch.equal(model(TOKENS, LABELS), first)
    assert torch.equal(first, other)  # the class speaks through the modulation only


def test_the_class_and_the_registers_matter_later() -> None:
    model = awake()
    with torch.no_grad():
        before = model(TOKENS, LABELS)
        assert before.shape == (2, 16, 20)
        assert not torch.allclose(before, model(TOKENS, torch.full_like(LABELS, model.dropped)))
        model.reg_tokens.weight.add_(torch.randn(24, generator=torch.Generator().manual_seed(1)))
        assert not torch.allclose(before, model(TOKENS, LABELS))


def test_positions_choose_rows_and_the_mask_may_be_scored() -> None:
    positions = torch.tensor([[3, 0, 15], [7, 8, 1]])
    with torch.no_grad():
        whole, some = awake()(TOKENS, LABELS), awake()(TOKENS, LABELS, positions=positions)
        more = awake(mask_logit=True)(TOKENS, LABELS)
    assert torch.allclose(some, whole.gather(1, positions[..., None].expand(-1, -1, 20)), atol=1e-6)
    assert more.shape == (2, 16, 21)
    assert torch.allclose(more[..., :20], whole, atol=1e-6)


@pytest.mark.parametrize(("masked", "inner"), [(48, 256), (384, 256), (385, 256), (387, 512), (3072, 2048)])
def test_the_gated_layer_is_rounded_up(masked: int, inner: int) -> None:
    assert GatedMlp(8, masked, 0.0).w1.out_features == inner


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = awake()
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(ClassTransformer.from_pretrained(tmp_path)(TOKENS, LABELS), model(TOKENS, LABELS))


def test_messages() -> None:
    with pytest.raises(UserError, match="9 tokens for a transformer of 4 x 4"):
        transformer()(TOKENS[:, :9], LABELS)
    with pytest.raises(UserError, match="does not divide into 5 heads"):
        transformer(heads=5)


def test_it_runs_on_the_common_sampler() -> None:
    model = awake()

    def predict(tokens: torch.Tensor, positions: torch.Tensor, step: int, guided: bool):
        labels = torch.cat([LABELS, torch.full_like(LABELS, model.dropped)]) if guided else LABELS
        times = 2 if guided else 1
        logits = model(tokens.repeat(times, 1), labels, positions=positions.repeat(times, 1))
        return logits.chunk(2) if guided else logits

    def sample(scale: float) -> torch.Tensor:
        start = torch.full((2, 16), model.mask_id)
        options: dict = {"mask_id": model.mask_id, "steps": 5, "rng": SampleRNG([1, 2]), "grid": (4, 4)}
        return unmask(predict, start, order=Halton(), guidance=Guidance(scale), **options).tokens

    assert bool((sample(3.0) < 20).all())
    assert torch.equal(sample(3.0), sample(3.0))
    assert not torch.equal(sample(3.0), sample(1.0))


def test_there_may_be_no_registers() -> None:
    model = awake(registers=0)
    assert "reg_tokens.weight" not in model.state_dict()
    with torch.no_grad():
        assert model(TOKENS, LABELS).shape == (2, 16, 20)
