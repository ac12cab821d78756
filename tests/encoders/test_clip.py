"""CLIP's text tower, on a tiny random one that the test writes to disk."""

import json
from pathlib import Path

import pytest
import torch

from mimgen.encoders import ClipTextEncoder
from mimgen.errors import UserError

WORDS = ["<|startoftext|>", "<|endoftext|>", "red</w>", "car</w>", *"redca", "r</w>", "d</w>", "re", "ca"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip")
    vocabulary, merges = folder / "v.json", folder / "m.txt"
    vocabulary.write_text(json.dumps({word: position for position, word in enumerate(dict.fromkeys(WORDS))}))
    merges.write_text("#version: 0.2\nr e\nre d</w>\nc a\nca r</w>\n")
    tokenizer = CLIPTokenizer(str(vocabulary), str(merges), model_max_length=8)
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=16, hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
        max_position_embeddings=8, projection_dim=12, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    ClipTextEncoder(CLIPTextModelWithProjection(config), tokenizer).save_pretrained(folder / "text_encoder")
    return folder / "text_encoder"


def test_a_long_caption_is_cut_with_a_warning(saved: Path) -> None:
    encoder = ClipTextEncoder.from_pretrained(saved)
    long = "red car " * 4
    with pytest.warns(UserWarning, match='only the first 8 of 10 tokens .* "red car'):
        cut = encoder.encode([long])
    torch.testing.assert_close(cut.states, encoder.encode(["red car " * 3]).states)


def test_penultimate_states_and_projected_pool(saved: Path) -> None:
    encoder = ClipTextEncoder.from_pretrained(saved)
    text = encoder.encode(["red car", ""])
    assert text.states.shape == (2, 8, 16) and text.pooled.shape == (2, 12)
    assert encoder.width == 16 and encoder.pooled_width == 12
    torch.testing.assert_close(encoder.encode(["red car"]).pooled[0], text.pooled[0])
    assert not torch.allclose(text.pooled[0], text.pooled[1])
    assert not any(p.requires_grad for p in encoder.parameters())
    ids = encoder.tokenizer(["red car"], padding="max_length", max_length=8, return_tensors="pt").input_ids
    masked = encoder.model(ids, output_hidden_states=True).hidden_states
    assert len(masked) == 4
    torch.testing.assert_close(text.states[:1], masked[2])


def test_wrong_folders_are_named(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        ClipTextEncoder.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text((saved / "config.json").read_text())
    with pytest.raises(UserError, match="needs its tokenizer"):
        ClipTextEncoder.from_pretrained(tmp_path)
