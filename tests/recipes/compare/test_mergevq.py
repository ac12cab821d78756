"""The study of MergeVQ on a toy: every keep count of one model, its baseline, and the claims."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mimgen import configs
from mimgen.errors import UserError
from mimgen.methods import Reconstruction
from mimgen.recipes import DataConfig, TrainTokenizer
from mimgen.recipes.compare import mergevq as study_mergevq
from mimgen.recipes.compare.keeping import kept
from mimgen.recipes.compare.mergevq import Options, measure_model, trained
from mimgen.recipes.compare.scores import labelled
from mimgen.recipes.compare.verdicts import outcomes, rank_correlation
from mimgen.tokenizers.grid_merging import GridBlocks
from mimgen.tokenizers.mergevq import MergeVQ
from mimgen.training import Settings


def toy(seed: int = 0) -> MergeVQ:
    torch.manual_seed(seed)
    return MergeVQ(
        16, 8, (1, 1, 2), 1, bits=6, layers=2, heads=2, keep=9, candidates="uniform-2", rep_dim=8,
        recovery_layers=1, recovery_width=16, recovery_heads=2,
    )  # fmt: skip


def experiment(size: str = "toy", data: str = "emoji", align: str = "auto", seed: int = 0) -> TrainTokenizer:
    settings = Settings(steps=9, batch_size=8, base_lr=1e-2, seed=seed)
    return TrainTokenizer("mergevq", size, lambda: Reconstruction(toy(seed)), DataConfig(data, 16), settings)


def options(folder: Path, **more: Any) -> Options:
    return replace(Options(size="toy", images=16, limit=100, out=folder), **more)


@pytest.fixture(autouse=True)
def toy_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "experiment", lambda name: experiment)


@pytest.mark.filterwarnings("ignore:probe")
def test_one_model_is_measured_at_every_keep_count() -> None:
    torch.manual_seed(0)
    data = labelled("emoji", 16, 80)
    model = toy().eval()
    rows = [kept(model, data, keep, 0) for keep in (4, 16)]
    assert [row["keep"] for row in rows] == [4, 16]
    few, full = rows
    assert full["learned"] is None and full["nearest"] is None  # nothing is merged, nothing to recover
    for source in ("learned", "nearest"):
        assert 0 < few[source]["agreement"] < 1 and few[source]["psnr"] > 0
    assert few["label"] == "subgroup" and 0 <= few["probe_class"] <= 1 and 0 <= few["probe_tokens"] <= 1
    assert few["usage"] <= full["usage"] and few["rfid"] > 0


@pytest.mark.filterwarnings("ignore:probe")
def test_the_baseline_differs_in_the_grid_only(tmp_path: Path) -> None:
    wanted = options(tmp_path, keeps="9,16")
    run = study_mergevq._run(wanted, "grid", 0)
    objective: Any = run.build()
    plain: Any = study_mergevq._run(wanted, "merging", 0).build()
    assert isinstance(objective.tokenizer.encoder.attn, GridBlocks)
    states = objective.state_dict(), plain.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    assert run.data_config.split == "train"
    row = trained(wanted, "grid", 0)
    assert row["kind"] == "grid" and row["steps"] == 2 and row["images"] == 16
    assert [each["keep"] for each in row["keeps"]] == [9, 16]
    # the cells of a square grid are what the square container says
    assert row["keeps"][0]["nearest"]["agreement"] == pytest.approx(1)
    assert row["keeps"][0]["nearest"]["psnr"] == pytest.approx(row["keeps"][0]["psnr"])


@pytest.mark.filterwarnings("ignore:probe")
def test_a_given_model_is_measured_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy().save_pretrained(tmp_path / "model" / "tokenizer")
    wanted = options(tmp_path, models=str(tmp_path / "model"))
    row = measure_model(wanted, str(tmp_path / "model"), 0)
    assert [each["keep"] for each in row["keeps"]] == [9, 16] and row["trained_keeps"] == [9, 16]
    monkeypatch.setattr(study_mergevq, "made_once", lambda path, work, *arguments: work(*arguments))
    words = f"--models {tmp_path / 'model'} --limit 60 --out {tmp_path / 'out'}".split()
    assert study_mergevq.main(words) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert result["study"] == "mergevq" and len(result["outcomes"]) == 5 and "versions" in result
    text = (tmp_path / "out" / "result.md").read_text("utf-8")
    assert "| 9 |" in text and "## Claims" in text and "lab-hog" in text
    with pytest.raises(UserError, match="choose another --out"):
        study_mergevq.main([*words, "--data", "photos"])
    capsys.readouterr()


def curve(seed: int, psnr: list[float], probe: list[float], learned: float = -0.2) -> dict[str, Any]:
    keeps = [
        {
            "keep": keep, "psnr": p, "probe_class": a, "probe_tokens": a,
            "learned": {"psnr": p + learned, "agreement": 0.9} if keep < 16 else None,
            "nearest": {"psnr": p - 3, "agreement": 0.2} if keep < 16 else None,
        }
        for keep, p, a in zip((4, 9, 16), psnr, probe)
    ]  # fmt: skip
    return {"seed": seed, "keeps": keeps}


def found_outcomes(merging: list[dict[str, Any]], grid: list[dict[str, Any]]) -> dict[str, str]:
    return {outcome.hypothesis: outcome.outcome for outcome in outcomes(merging, grid)}


def test_verdicts_follow_their_rules() -> None:
    good = [curve(seed, [20, 22, 24], [0.5, 0.4, 0.3]) for seed in range(3)]
    grid = [curve(seed, [19, 21, 24], [0.3, 0.3, 0.3]) for seed in range(3)]
    assert set(found_outcomes(good, grid).values()) == {"confirmed"}
    bad = [curve(seed, [24, 22, 20], [0.3, 0.4, 0.5], learned=-4) for seed in range(3)]
    found = found_outcomes(bad, [curve(seed, [25, 23, 20], [0, 0, 0]) for seed in range(3)])
    assert set(found.values()) == {"refuted"}
    mixed = found_outcomes([good[0], bad[1]], [])
    assert mixed["fewer tokens, better probe (class token)"] == "undecided"
    assert mixed["learned source recovery restores detail"] == "undecided"
    nothing = [{"seed": 0, "keeps": [{**row, "learned": None, "probe_class": None} for row in good[0]["keeps"]]}]
    assert found_outcomes(nothing, [])["recovered sources are as good as true ones"] == "undecided"
    assert found_outcomes(nothing, [])["fewer tokens, better probe (class token)"] == "undecided"


def test_rank_correlation_is_spearmans() -> None:
    assert rank_correlation([(1, 5.0), (2, 4.0), (9, 1.0)]) == pytest.approx(-1)
    assert rank_correlation([(1, 1.0), (2, 1.0), (3, 2.0)]) == pytest.approx(0.8660254)
    assert rank_correlation([(1, 1.0), (2, 1.0)]) == 0


def test_other_tokenizers_are_refused(tmp_path: Path) -> None:
    from mimgen.tokenizers import ConvTokenizer

    ConvTokenizer(8, (1,), 1, 4, 4).save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(UserError, match="holds a ConvTokenizer, no MergeVQ"):
        measure_model(options(tmp_path), str(tmp_path), 0)
