"""`mimgen compare tokenizers`: its arms, one row of each kind, the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mimgen import configs
from mimgen.errors import UserError
from tests.recipes.compare.in_process import use

experiment = configs.experiment("tokenizers", "compare")


def test_controls_are_arms() -> None:
    compare = experiment(configs="vqgan-fsq,centroids", size="tiny", seeds="0,1", untrained=True)
    names = [arm.name for arm in compare.arms]
    assert names[:3] == ["vqgan-fsq", "vqgan-fsq, untrained", "centroids"], "centroids are computed, not trained"
    assert names[-1].startswith("raw pixels")
    assert compare.protocol["budget"] == "20,000 images" and list(compare.seeds) == [0, 1]
    with pytest.raises(UserError, match="mae is no tokenizer"):
        experiment(configs="mae")
    with pytest.raises(UserError, match="--configs is empty"):
        experiment(configs=",")


@pytest.mark.filterwarnings("ignore:probe")
def test_a_tokenizer_beside_raw_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    compare = experiment(configs="vqgan-vq", size="tiny", images=16, limit=80, seeds="1")
    done = compare.run(tmp_path)
    assert not done.failures
    assert (tmp_path / "runs" / "vqgan-vq-seed1" / "tokenizer" / "config.json").is_file()
    from mimgen.report.result import read_outcome

    result: Any = read_outcome(done.path)
    scores = result["scores"]["Tokenizers"]
    assert scores["vqgan-vq"]["PSNR dB"] > 0 and scores["vqgan-vq"]["training images"] == 16
    pixels = next(value for name, value in scores.items() if name.startswith("raw pixels"))
    assert 0 < pixels["probe, 4 x 4 grid %"] < 1
    assert "most frequent class" in done.text and "80 of val" in done.text
