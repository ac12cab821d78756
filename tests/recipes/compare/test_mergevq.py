"""`mimgen compare mergevq` on a toy: every number of kept tokens of one model, its baseline, the hypotheses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mimgen import configs
from mimgen.errors import UserError
from mimgen.evaluation.kept_tokens import score_kept_tokens
from mimgen.evaluation.tokenizer_scores import open_labelled
from mimgen.tokenizers import ConvTokenizer
from mimgen.tokenizers.grid_merging import GridBlocks
from mimgen.tokenizers.mergevq import MergeVQ
from tests.recipes.compare.in_process import use

experiment = configs.experiment("mergevq", "compare")


def toy(seed: int = 0) -> MergeVQ:
    torch.manual_seed(seed)
    return MergeVQ(
        16, 8, (1, 1, 2), 1, bits=6, layers=2, heads=2, keep=9, candidates="uniform-2", rep_dim=8,
        recovery_layers=1, recovery_width=16, recovery_heads=2,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:probe")
def test_one_model_is_measured_at_every_keep_count() -> None:
    torch.manual_seed(0)
    data = open_labelled("emoji", 16, 80)
    model = toy().eval()
    rows = [score_kept_tokens(model, data, keep, 0) for keep in (4, 16)]
    assert [row["keep"] for row in rows] == [4, 16]
    few, full = rows
    assert full["learned"] is None and full["nearest"] is None  # nothing is merged, nothing to recover
    for source in ("learned", "nearest"):
        assert 0 < few[source]["agreement"] < 1 and few[source]["psnr"] > 0
    assert few["label"] == "subgroup" and 0 <= few["probe_class"] <= 1 and 0 <= few["probe_tokens"] <= 1
    assert few["usage"] <= full["usage"] and few["rfid"] > 0


def test_the_baseline_differs_in_the_grid_only() -> None:
    compare = experiment(size="tiny", images=16, limit=80)
    merging, grid = (arm.parts["training"].build(0) for arm in compare.arms)
    objectives = []
    for run in (merging, grid):
        torch.manual_seed(0)
        objectives.append(run.build())
    plain, gridded = objectives
    assert isinstance(gridded.tokenizer.encoder.attn, GridBlocks)
    states = gridded.state_dict(), plain.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    assert grid.data_config.split == "train"


@pytest.mark.filterwarnings("ignore:probe")
def test_given_models_take_the_place_of_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    toy().save_pretrained(tmp_path / "model" / "tokenizer")
    compare = experiment(models=str(tmp_path / "model"), limit=60)
    done = compare.run(tmp_path / "out")
    assert not done.failures and list(compare.seeds) == [0]
    assert "| 9 |" in done.text and "## Hypotheses" in done.text and "lab-hog" in done.text
    assert "one seed gives no interval" in done.text
    with pytest.raises(UserError, match="choose another --out"):
        experiment(models=str(tmp_path / "model"), limit=60, data="photos").run(tmp_path / "out")


def test_other_tokenizers_are_refused(tmp_path: Path) -> None:
    ConvTokenizer(8, (1,), 1, 4, 4).save_pretrained(tmp_path / "tokenizer")
    part = experiment(models=str(tmp_path)).arms[0].parts["kept"]
    with pytest.raises(UserError, match="holds a ConvTokenizer, no MergeVQ"):
        part(tmp_path, 0, {})


def curve(seed: int, psnr: list[float], probe: list[float], learned: float = -0.2) -> dict[str, Any]:
    keeps = [
        {
            "keep": keep, "psnr": p, "probe_class": a, "probe_tokens": a,
            "learned": {"psnr": p + learned, "agreement": 0.9} if keep < 16 else None,
            "nearest": {"psnr": p - 3, "agreement": 0.2} if keep < 16 else None,
        }
        for keep, p, a in zip((4, 9, 16), psnr, probe)
    ]  # fmt: skip
    return {"seed": seed, "kept": {"keeps": keeps}}


def outcomes(merging: list[dict[str, Any]], grid: list[dict[str, Any]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for hypothesis in experiment().hypotheses:
        for one in hypothesis.test({"merging": merging, "grid": grid}):
            found.setdefault(one.hypothesis, set()).add(one.outcome)
    return found


def test_hypotheses_follow_their_contrasts() -> None:
    good = [curve(seed, [20, 22 + seed / 10, 24 + seed / 5], [0.5, 0.4, 0.3]) for seed in range(3)]
    grid = [curve(seed, [19, 21, 24], [0.3, 0.3, 0.3]) for seed in range(3)]
    assert set().union(*outcomes(good, grid).values()) == {"supported"}
    bad = [curve(seed, [24, 22, 20], [0.3, 0.4, 0.5], learned=-4) for seed in range(3)]
    found = outcomes(bad, [curve(seed, [25, 23, 20], [0, 0, 0]) for seed in range(3)])
    assert found["more tokens, better images"] == {"refuted"}
    assert found["merged tokens keep more of an image than a grid of as many"] == {"refuted"}
    assert found["fewer tokens, better probe (class token)"] == {"refuted"}
    assert found["learned source recovery restores detail"] == {"refuted", "supported"}, "its PSNR, its groups"
    mixed = outcomes([good[0], bad[1]], [])
    assert mixed["fewer tokens, better probe (class token)"] == {"open"}
    assert mixed["merged tokens keep more of an image than a grid of as many"] == {"open"}
