"""The byte-level text encoder."""

import warnings

import pytest
import torch

from mimgen.encoders import ByteTextEncoder
from mimgen.encoders.text import word_pieces, words_of


@pytest.fixture(scope="module")
def encoder() -> ByteTextEncoder:
    torch.manual_seed(0)
    return ByteTextEncoder(width=16, depth=1, heads=2, max_words=6, buckets=64).eval()


def test_words() -> None:
    assert words_of("woman astronaut: medium-dark skin tone") == [
        "woman",
        "astronaut",
        "medium",
        "dark",
        "skin",
        "tone",
    ]
    assert words_of("keycap: #") == ["keycap", "#"]
    assert words_of("") == []


def test_pieces_are_stable_and_in_range() -> None:
    assert word_pieces("ab", 10_000) == word_pieces("ab", 10_000)
    assert len(word_pieces("ab", 64)) == 1 + 2 + 2 and max(word_pieces("tête", 64)) < 64


def test_shapes_and_independence_of_the_batch(encoder: ByteTextEncoder) -> None:
    text = encoder.encode(["red apple", "", "a very green apple"])
    assert text.states.shape == (3, 6, 16) and text.pooled.shape == (3, 16)
    torch.testing.assert_close(encoder.encode(["", "red apple"]).states[1], text.states[0])
    assert torch.isfinite(text.states).all()


def test_word_order_and_spelling_matter(encoder: ByteTextEncoder) -> None:
    one, two, three = encoder.encode(["dog bites man", "man bites dog", "dog bites men"]).pooled
    assert not torch.allclose(one, two) and not torch.allclose(one, three)


def test_long_caption_is_cut_with_a_warning(encoder: ByteTextEncoder) -> None:
    with pytest.warns(UserWarning, match="first 6 of 7 words"):
        long = encoder.encode(["a b c d e f g"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(long.pooled, encoder.encode(["a b c d e f"]).pooled)


def test_gradient_reaches_the_table(encoder: ByteTextEncoder) -> None:
    encoder.encode(["red apple"]).pooled.sum().backward()
    assert encoder.table.weight.grad is not None and encoder.table.weight.grad.abs().sum() > 0
    encoder.zero_grad()


def test_every_weight_is_in_use_whatever_the_captions() -> None:
    encoder = ByteTextEncoder(width=12, depth=1, heads=2, max_words=5, buckets=32)
    text = encoder.encode(["", ""])
    (text.states.sum() + text.pooled.sum()).backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    assert encoder.table.weight.grad is not None and not encoder.table.weight.grad.any()
