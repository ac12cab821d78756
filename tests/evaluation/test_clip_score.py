"""CLIP score with a tiny model on disk, against the model called by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mimgen.errors import UserError
from mimgen.evaluation.clip_score import clip_score, clip_similarities


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP model with random weights, its tokenizer and its preprocessor."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    position = tmp_path_factory.mktemp("clip")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (position / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    (position / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer.from_pretrained(position)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = sizes | {"vocab_size": len(names), "max_position_embeddings": 12, "eos_token_id": len(names) - 1,
                    "bos_token_id": len(names) - 2, "pad_token_id": len(names) - 1}  # fmt: skip
    config = CLIPConfig(
        text_config=text, vision_config=sizes | {"image_size": 32, "patch_size": 16}, projection_dim=8
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(position)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(images, tokenizer).save_pretrained(position)
    return position


IMAGES = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
CAPTIONS = ["a cat", "dog", "a very long caption of many letters", "b", "a cat"]


def test_it_is_the_cosine_of_the_model(folder: Path) -> None:
    from transformers import CLIPModel, CLIPTokenizer

    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), CLIPTokenizer.from_pretrained(folder)
    cosines = clip_similarities(IMAGES, CAPTIONS, folder)
    pixels = (IMAGES * 255).round() / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (
        (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)))  # fmt: skip
    with torch.no_grad():
        for row, caption in enumerate(CAPTIONS):
            ids = tokenizer(caption, return_tensors="pt", truncation=True, max_length=12)
            logits = model(**ids, pixel_values=((pixels[row] - mean) / std)[None]).logits_per_image
            assert float(cosines[row]) == pytest.approx(float(logits / model.logit_scale.exp()), abs=1e-5)


def test_the_score_is_the_clamped_mean_and_does_not_depend_on_batches(folder: Path) -> None:
    cosines = clip_similarities(IMAGES, CAPTIONS, folder)
    found = clip_score(IMAGES, CAPTIONS, folder, batch_size=2)
    assert found["values"] == pytest.approx((100 * cosines.clamp(min=0)).tolist(), abs=1e-4)
    assert found["clip_score"] == pytest.approx(sum(found["values"]) / 5)
    assert found["n"] == 5 and found["truncated"] == 1 and len(found["model"]["weights"]) == 16


def test_bad_input_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one caption per image"):
        clip_score(IMAGES, CAPTIONS[:2], folder)
    with pytest.raises(UserError, match="no CLIP model at"):
        clip_score(IMAGES, CAPTIONS, tmp_path / "absent")
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(UserError, match="no complete CLIP model"):
        clip_score(IMAGES, CAPTIONS, tmp_path)
    with pytest.raises(UserError, match="NaN"):
        clip_score(IMAGES * float("nan"), CAPTIONS, folder)
