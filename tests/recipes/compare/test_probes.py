"""`mimgen compare probes`: its arms, what is refused, a run from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mimgen import configs
from mimgen.errors import UserError
from tests.recipes.compare.in_process import use

experiment = configs.experiment("probes", "compare")


def test_trained_arms_are_configs_at_equal_cost() -> None:
    compare = experiment(models="hog,train:vqgan-fsq", data="emoji,digits", size="tiny", pixels=16)
    assert [list(arm.parts) for arm in compare.arms] == [["emoji", "digits"], ["training", "emoji", "digits"]]
    train = compare.arms[1].parts["training"]
    assert train.build.config == "vqgan" and train.build.arguments["quantizer"] == "fsq"
    assert train.budget.reference.config == "mae"


def test_mistakes_name_the_fix() -> None:
    with pytest.raises(UserError, match="frozen features"):
        experiment(probes="fine-tune")
    with pytest.raises(UserError, match="--models is empty"):
        experiment(models=",")
    with pytest.raises(UserError, match="unknown config"):
        experiment(models="train:maee")
    with pytest.raises(UserError, match="computed, not trained"):
        experiment(models="train:centroids", size="tiny", pixels=16)


@pytest.mark.filterwarnings("ignore:probe")
def test_an_untrained_network_is_drawn_by_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    compare = experiment(models="pixels,random-vit", data="emoji", seeds="0,1", probes="knn", pixels=16, limit=60)
    done = compare.run(tmp_path)
    assert not done.failures
    result = json.loads(done.path.read_text("utf-8"))
    sources = [row["emoji"]["encoder"]["source"] for row in result["rows"]["random-vit"]]
    assert sources == ["random-vit:0", "random-vit:1"]
    assert "most frequent class" in result["scores"]["emoji"]
