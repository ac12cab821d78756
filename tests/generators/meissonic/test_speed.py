"""Exact savings: the same tokens, each switch alone and all together."""

import json
import shutil
from dataclasses import asdict

import pytest
import torch

from mimgen.errors import UserError
from mimgen.generators import FeatureCache, Speed, sample_text
from mimgen.generators.meissonic.speed import PLAIN
from mimgen.sampling import Confidence, Guidance, Halton, Order, Sampled
from mimgen.types import SampleRNG
from tests.generators.text_models import COUNT, GRID, half_known, predictor, text, transformer

SWITCHES = {
    "text": Speed(text_once=True, guide_features=False, last_block=False),
    "guidance": Speed(text_once=False, guide_features=True, last_block=False),
    "last block": Speed(text_once=False, guide_features=False, last_block=True),
    "all": Speed(),
    "cache of every step": Speed(cache=FeatureCache(every=1, compress="merge")),
}


def sample(
    speed: Speed, compress: bool, order: Order, initial_tokens: torch.Tensor | None, guidance: Guidance
) -> Sampled:
    return sample_text(
        predictor(speed, compress),
        SampleRNG([1, 2, 3]),
        initial_tokens=initial_tokens,
        order=order,
        guidance=guidance,
    )


@pytest.mark.parametrize("initial_tokens", [None, half_known()], ids=["empty", "inpainting"])
@pytest.mark.parametrize("order", [Confidence(), Halton()], ids=["confidence", "halton"])
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
def test_exact_switches_leave_the_tokens(compress: bool, order: Order, initial_tokens: torch.Tensor | None) -> None:
    guidance = Guidance(4.0, (0.2, 0.8))  # with steps of one branch, too
    plain = sample(PLAIN, compress, order, initial_tokens, guidance)
    for name, speed in SWITCHES.items():
        assert speed.exact
        quick = sample(speed, compress, order, initial_tokens, guidance)
        assert torch.equal(quick.tokens, plain.tokens), name
        torch.testing.assert_close(quick.log_probs, plain.log_probs, atol=1e-4, rtol=1e-4)
    other = sample(PLAIN, compress, order, initial_tokens, Guidance(1.0))
    assert not torch.equal(other.tokens, plain.tokens)  # the comparison can fail


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
def test_states_at_positions_are_those_of_the_whole_grid(compress: bool) -> None:
    model, captions, rate = transformer(compress), text(3, 1), torch.tensor([0.2, 0.5, 1.0])
    tokens, sizes = half_known().view(3, *GRID), torch.tensor([[56.0, 40, 0, 0, 6]]).expand(3, -1)
    positions = torch.tensor([[0, 34, 12, 12], [6, 7, 8, 9], [30, 1, 1, 1]])
    prepared = model.prepare(captions.states, captions.pooled, sizes, GRID)
    quick = model.states_at(tokens, prepared, rate, positions)
    whole = model.states(tokens, captions.states, captions.pooled, rate, sizes)
    expected = whole.gather(1, positions[..., None].expand(-1, -1, 32))
    torch.testing.assert_close(quick, expected)
    weight = model.single_transformer_blocks[1].proj_mlp.weight
    gradients = [torch.autograd.grad(x.square().sum(), weight)[0] for x in (quick, expected)]
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-4)  # serves training, too


def test_the_text_is_embedded_once() -> None:
    for speed, count in ((Speed(), 1), (PLAIN, 8)):
        predict, calls = predictor(speed), []
        predict.transformer.context_embedder.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        sample_text(predict, SampleRNG([1, 2, 3]), guidance=Guidance(4.0))
        assert len(calls) == count


def test_the_last_linear_layer_runs_once_for_both_branches() -> None:
    rows = {}
    for speed in (Speed(), PLAIN):
        predict, seen = predictor(speed), []
        head = predict.transformer.mlm_layer
        original = head.logits
        head.logits = lambda x, seen=seen, original=original: seen.append(len(x)) or original(x)
        sample_text(predict, SampleRNG([1, 2, 3]), guidance=Guidance(4.0))
        rows[speed] = set(seen)
    assert rows == {Speed(): {3}, PLAIN: {6}}


def test_reading_is_tolerant_and_exact() -> None:
    speed = Speed(last_block=False, cache=FeatureCache(2, "drop", 0.25), guidance_every=3)
    assert Speed.read(json.loads(json.dumps(asdict(speed)))) == speed
    assert Speed.read({"cache": {"every": 5}}) == Speed(cache=FeatureCache(5))
    assert Speed.read({"of_the_future": 1}) == Speed()
    assert not speed.exact


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FeatureCache(0), "at least 1 step"),
        (lambda: FeatureCache(2, first=0), "at least 1 step"),
        (lambda: FeatureCache(2, "zip"), '"drop", "merge" or None'),
        (lambda: FeatureCache(2, keep=0.0), r"share in \(0, 1\]"),
        (lambda: Speed(guidance_every=0), "at least 1 step"),
    ],
)
def test_impossible_settings(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize("how", [None, "drop", "merge"])
def test_every_part_keeps_the_number_format(how) -> None:
    for speed in (PLAIN, Speed(), Speed(cache=FeatureCache(3, how)), Speed(guidance_every=2)):
        predict = predictor(speed, compress=True)
        predict.transformer.double()
        logits = predict.guided(half_known(), torch.zeros(3, 1, dtype=torch.int64), 0, 2.0)
        assert logits.dtype == (torch.float32 if speed == PLAIN else torch.float64)
        assert bool((sample_text(predict, SampleRNG([1, 2, 3]), guidance=Guidance(4.0)).tokens < 40).all())


def test_sampling_fills_the_whole_grid() -> None:
    sampled = sample(Speed(), True, Halton(), None, Guidance(2.0))
    assert sampled.tokens.shape == (3, COUNT) and bool((sampled.tokens < 40).all())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_compiled_blocks_give_the_same_tokens() -> None:
    for speed in (Speed(), Speed(cache=FeatureCache(3))):
        compiled = Speed(compile=True, cache=speed.cache)
        eager, quick = (sample(s, True, Halton(), None, Guidance(4.0)) for s in (speed, compiled))
        assert torch.equal(eager.tokens, quick.tokens)
