"""Cached text states: what the encoder says, each caption once, refused for another encoder, resuming."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from mimgen.encoders import ByteTextEncoder, CachedText, TextStates
from mimgen.encoders.text_cache import cache_text, encoder_hash
from mimgen.errors import UserError

CAPTIONS = ["red car", "blue dog", "red car", "a cat", "the sun"]


class Counting:
    """An encoder that counts what it is given, and may break off."""

    def __init__(self, encoder: ByteTextEncoder, breaks_at: int | None = None) -> None:
        self.encoder, self.seen, self.breaks_at = encoder, 0, breaks_at

    def encode(self, captions: Sequence[str]) -> TextStates:
        if self.breaks_at is not None and self.seen >= self.breaks_at:
            raise KeyboardInterrupt
        self.seen += len(captions)
        return self.encoder.encode(captions)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    ByteTextEncoder(width=12, depth=1, heads=2, max_words=5, buckets=32).eval().save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


@pytest.mark.parametrize(("precision", "error"), [("fp32", 0.0), ("fp16", 1e-3)])
def test_looked_up_as_encoded(precision: str, error: float, saved: Path, tmp_path: Path) -> None:
    encoder = Counting(ByteTextEncoder.from_pretrained(saved))
    done: list[tuple[int, int]] = []
    cache_text(
        tmp_path / "text", CAPTIONS, encoder, encoder_hash(saved), batch_size=2, precision=precision,
        on_batch=lambda *pair: done.append(pair),
    )  # fmt: skip
    assert encoder.seen == 5, "the empty caption and each different one"
    assert done == [(2, 5), (4, 5), (5, 5)]
    assert not list((tmp_path / "text").glob("*partial*"))
    cached = CachedText.open(tmp_path / "text", saved)
    requested = ["the sun", "", "red car", "the sun"]
    with torch.no_grad():
        expected = encoder.encoder.encode(requested)
    got = cached.encode(requested)
    # a sequence encoded in another batch may differ by rounding
    torch.testing.assert_close(got.states, expected.states, rtol=error, atol=error + 1e-6)
    torch.testing.assert_close(got.pooled, expected.pooled, rtol=error, atol=error + 1e-6)
    assert (cached.max_words, cached.width, cached.pooled_width) == (5, 12, 12)
    assert got.states.dtype == torch.float32 and not list(cached.state_dict()) and not list(cached.parameters())
    assert cached.to("meta").encode(requested).states.device.type == "meta"


def test_interrupted_it_goes_on(saved: Path, tmp_path: Path) -> None:
    encoder, key = ByteTextEncoder.from_pretrained(saved), encoder_hash(saved)
    with pytest.raises(KeyboardInterrupt):
        cache_text(tmp_path / "text", CAPTIONS, Counting(encoder, breaks_at=2), key, batch_size=2)
    with pytest.raises(UserError, match="is not finished"):
        CachedText.open(tmp_path / "text", saved)
    rest = Counting(encoder)
    cache_text(tmp_path / "text", CAPTIONS, rest, key, batch_size=2)
    assert rest.seen == 3
    whole = cache_text(tmp_path / "whole", CAPTIONS, encoder, key, batch_size=2)
    for name in ("states.npy", "pooled.npy"):
        assert (whole / name).read_bytes() == (tmp_path / "text" / name).read_bytes()
    again = Counting(encoder)
    cache_text(tmp_path / "text", CAPTIONS, again, key)
    assert again.seen == 0


def test_refused_for_something_else(saved: Path, tmp_path: Path) -> None:
    encoder, key = ByteTextEncoder.from_pretrained(saved), encoder_hash(saved)
    text = cache_text(tmp_path / "text", CAPTIONS, encoder, key)
    with pytest.raises(UserError, match='no cached text states of "a bird"'):
        CachedText.open(text, saved).encode(["red car", "a bird"])
    with pytest.raises(UserError, match="another list of captions"):
        cache_text(text, [*CAPTIONS, "a bird"], encoder, key)
    with pytest.raises(UserError, match="another precision"):
        cache_text(text, CAPTIONS, encoder, key, precision="fp32")
    with pytest.raises(UserError, match="holds no cached text states"):
        CachedText.open(tmp_path, saved)
    torch.nn.init.ones_(encoder.padding)
    encoder.save_pretrained(tmp_path / "other")
    assert encoder_hash(tmp_path / "other") != key
    with pytest.raises(UserError, match="another text encoder"):
        CachedText.open(text, tmp_path / "other")
    with pytest.raises(UserError, match="another text encoder"):
        cache_text(text, CAPTIONS, encoder, encoder_hash(tmp_path / "other"))
    with pytest.raises(UserError, match=r"no config.json"):
        encoder_hash(tmp_path)
    (text / "text.json").write_text(json.dumps({"n": 1}))
    with pytest.raises(UserError, match="is damaged"):
        CachedText.open(text, saved)


def test_the_tokenizer_beside_an_encoder_counts(saved: Path, tmp_path: Path) -> None:
    plain = encoder_hash(saved)
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "vocab.json").write_text('{"a": 0}')
    beside = encoder_hash(saved)
    (saved / "vocab.json").write_text('{"b": 0}')
    assert len({plain, beside, encoder_hash(saved)}) == 3
    (tmp_path / "tokenizer" / "vocab.json").write_text('{"c": 0}')
    assert encoder_hash(saved) not in (plain, beside), "one's own comes first"
