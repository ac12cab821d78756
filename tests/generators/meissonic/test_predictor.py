"""Text-conditional sampling: clocks, micro-conditions, branches."""

import pytest
import torch

from mimgen.encoders import TextStates
from mimgen.errors import UserError
from mimgen.generators import MeissonicTransformer, TextCondition
from mimgen.generators.meissonic.predictor import (
    RELEASED,
    TextPredictor,
    check_scheduler,
    released_preset,
    sample_text,
)
from mimgen.sampling import Guidance
from mimgen.types import SampleRNG


def predictor(timestep_mode: str = "rate", rows: int = 2) -> TextPredictor:
    torch.manual_seed(0)
    transformer = MeissonicTransformer(0, 1, 16, 1, 6, 16, vocab_size=11, codebook_size=10).eval()
    torch.nn.init.normal_(transformer.mlm_layer.conv2.weight)  # logits that differ
    text, negative = (TextStates(torch.randn(rows, 3, 6), torch.randn(rows, 16)) for _ in range(2))
    condition = TextCondition(text, negative, sizes=(24, 16, 1, 2, 5), steps=4, timestep_mode=timestep_mode)
    return transformer.predictor(condition, (2, 3))


def test_what_the_model_is_reported() -> None:
    tokens = torch.tensor([[10, 10, 10, 1, 2, 3], [10, 1, 2, 3, 4, 5]])
    torch.testing.assert_close(predictor().progress(tokens, 1), torch.tensor([1 / 2, 1 / 6]))
    assert predictor("steps").progress(tokens, 1).tolist() == [2.0, 2.0]
    assert predictor().micro_conditions(2).tolist() == [[24.0, 16, 1, 2, 5]] * 2


def test_branches() -> None:
    predict, tokens, positions = predictor(), torch.full((2, 6), 10), torch.tensor([[0, 4], [1, 5]])
    with torch.no_grad():
        conditional, unconditional = predict(tokens, positions, 0, True)
        torch.testing.assert_close(conditional, predict(tokens, positions, 0, False))
    assert not torch.allclose(conditional, unconditional)


def test_guidance_of_one_is_the_conditional_branch() -> None:
    plain = sample_text(predictor(), SampleRNG([1, 2]))
    same = sample_text(predictor(), SampleRNG([1, 2]), guidance=Guidance(1.0))
    strong = sample_text(predictor(), SampleRNG([1, 2]), guidance=Guidance(1000.0))
    assert torch.equal(plain.tokens, same.tokens)
    assert not torch.equal(plain.tokens, strong.tokens)
    assert bool((plain.tokens < 10).all())


def test_released_settings() -> None:
    transformer = predictor().transformer
    assert released_preset(transformer) == {"resolution": (512, 512), **RELEASED}
    check_scheduler({"mask_token_id": 10}, transformer)
    check_scheduler({}, transformer)
    with pytest.raises(UserError, match="masks with id 9"):
        check_scheduler({"mask_token_id": 9}, transformer)
