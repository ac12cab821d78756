"""`mimgen convert NAME SRC DST --tokenizer`: a release without a tokenizer becomes a folder that is sampled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mimgen.checkpoints.convert import revert
from mimgen.cli import convert
from mimgen.errors import UserError
from mimgen.generators import ClassTransformer, MageTransformer
from mimgen.pipelines import load_pipeline
from mimgen.recipes.releases import releases
from mimgen.tokenizers import ConvTokenizer


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    made = ConvTokenizer(channels=8, multipliers=(1,), blocks=1, stem=4, quantizer="fsq", levels=(5, 8)).eval()
    made.save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def release(name: str, codes: int, tmp_path: Path) -> Path:
    """A file in the official layout."""
    torch.manual_seed(0)
    made = (
        ClassTransformer(side=4, codebook_size=codes, classes=3, width=64, depth=1, heads=1, hidden=384)
        if name == "halton_maskgit"
        else MageTransformer(side=4, codebook_size=codes, width=64, depth=1, heads=1, decoder_width=64,
                             decoder_depth=1, decoder_heads=16)
    )  # fmt: skip
    made.save_pretrained(tmp_path / "ours")
    return revert(releases()[name], tmp_path / "ours", tmp_path / "official.safetensors")


@pytest.mark.parametrize(("name", "asked"), [("halton_maskgit", 2), ("mage", None)])
def test_it_can_be_sampled(name: str, asked: int | None, tokenizer: Path, tmp_path: Path) -> None:
    source, target = release(name, 40, tmp_path), tmp_path / "pipeline"
    word = "maskgit" if name == "halton_maskgit" else name
    assert convert.main([word, str(source), str(target), "--tokenizer", str(tokenizer)]) == 0
    output = load_pipeline(target)([asked], steps=2)
    assert output.images.shape == (1, 3, 16, 16)


def test_another_codebook_is_refused(tokenizer: Path, tmp_path: Path) -> None:
    source, target = release("mage", 41, tmp_path), tmp_path / "pipeline"
    with pytest.raises(UserError, match="trained on 41 codes"):
        convert.main(["mage", str(source), str(target), "--tokenizer", str(tokenizer)])
    assert not target.exists()
