"""Which folder a user means by a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimgen.bundled import BUNDLED, pipeline_folder
from mimgen.errors import UserError
from mimgen.pipelines import folders
from mimgen.pipelines.folders import find_pipeline


def test_the_bundled_pipeline_a_pipeline_folder_and_a_run(tmp_path: Path) -> None:
    assert find_pipeline(BUNDLED) == pipeline_folder()
    own = tmp_path / "run" / "pipeline"
    own.mkdir(parents=True)
    (own / "model_index.json").write_text("{}")
    assert find_pipeline(str(own)) == find_pipeline(str(tmp_path / "run")) == own


def test_what_is_no_pipeline_names_the_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"no such folder: .*none; --init takes"):
        find_pipeline(str(tmp_path / "none"), "--init")
    with pytest.raises(UserError, match=r"holds no pipeline \(no model_index\.json"):
        find_pipeline(str(tmp_path))
    monkeypatch.setattr(folders, "pipeline_folder", lambda: tmp_path)
    with pytest.raises(UserError, match="pass --model runs/quickstart"):
        find_pipeline(BUNDLED)
