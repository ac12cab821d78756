"""What a generator's run is told, and what it refuses when it resumes: clock, text encoder, squares, split weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mimgen.encoders import ByteTextEncoder
from mimgen.encoders.text_cache import cache_text, encoder_hash
from mimgen.errors import UserError
from mimgen.generators import FeatureCache, Speed
from mimgen.pipelines import TextToImagePipeline
from mimgen.recipes import generator
from mimgen.tokenizers import ConvTokenizer
from mimgen.training.checkpoint import newest
from tests.recipes.stages import stage_folder, training


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, a tokenizer, two text encoders and a pipeline."""
    root = stage_folder(tmp_path_factory.mktemp("runs"))
    for name in ("one", "two"):
        torch.manual_seed(len(list(root.iterdir())))
        ByteTextEncoder(width=32, depth=1, max_words=16).save_pretrained(root / name)
    training(root, "tiny256", tokenizer=str(root / "tokenizer")).run(root / "run")
    return root


def encoded_by(folder: Path, name: str | None, steps: int = 1, **changes: Any) -> generator.TrainGenerator:
    """A run with a frozen text encoder, or with one that is trained along."""
    clip = None if name is None else str(folder / name)
    return training(folder, "tiny256", steps, tokenizer=str(folder / "tokenizer"), clip=clip, **changes)


def index_with(source: Path, target: Path, **changes: Any) -> Path:
    """A copy of a pipeline whose index says something else."""
    shutil.copytree(source, target)
    index = json.loads((target / "model_index.json").read_text())
    (target / "model_index.json").write_text(json.dumps({**index, **changes}))
    return target


def test_the_clock_of_sampling_is_that_of_training(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = ConvTokenizer.from_pretrained(folder / "tokenizer")
    init = str(index_with(folder / "run" / "pipeline", tmp_path / "steps", timestep_mode="steps"))
    rate = training(folder, "tiny256", init=init)
    assert rate.init_from is not None and rate.init_from.preset.timestep_mode == "steps"
    assert rate.sampling.timestep_mode == "rate" and rate.objective(tokenizer).timestep_scale == 1 and not rate.options
    steps = training(folder, "tiny256", init=init, official_timesteps=True)
    assert steps.sampling.timestep_mode == "steps" and steps.objective(tokenizer).timestep_scale == 1000
    assert steps.options == {"official_timesteps": True} and steps.record()["official_timesteps"] is True
    monkeypatch.setattr("mimgen.recipes.init_from.is_released", lambda folder: True)
    released = training(folder, "tiny256", init=init).sampling
    assert (released.steps, released.timestep_mode) == (64, "rate")


def test_another_text_encoder_is_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    encoded_by(folder, "one").run(out)
    kept = TextToImagePipeline.load(out / "pipeline").text_encoder.state_dict()
    given = ByteTextEncoder.from_pretrained(folder / "one").state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in given.items()), "it stays as it is"
    assert encoded_by(folder, "one", 2).run(out).step == 2
    for other in ("two", None):
        with pytest.raises(UserError, match=r"started with another text encoder .* pass --clip and --init as"):
            encoded_by(folder, other, 3).run(out)
    latest = newest(out)
    assert latest is not None
    state = json.loads((latest / "state.json").read_text())
    assert state["identity"]["record"].pop("text_encoder") == encoder_hash(folder / "one")
    (latest / "state.json").write_text(json.dumps(state))
    assert encoded_by(folder, "one", 3).run(out).step == 3, "started before the encoder was recorded"


def test_a_text_encoder_that_learned_goes_on_learning(folder: Path, tmp_path: Path) -> None:
    encoded_by(folder, None).run(tmp_path / "run")
    with pytest.raises(UserError, match="trained along, now"):
        encoded_by(folder, "one", 2).run(tmp_path / "run")
    assert encoded_by(folder, None, 2).run(tmp_path / "run").step == 2


def test_text_states_are_not_switched(folder: Path, tmp_path: Path) -> None:
    captions = [f"image {number}" for number in range(8)]
    encoder = ByteTextEncoder.from_pretrained(folder / "one")
    states = cache_text(tmp_path / "text", captions, encoder, encoder_hash(folder / "one"), precision="fp32")
    encoded_by(folder, "one").run(tmp_path / "plain")
    encoded_by(folder, "one", text_states=str(states)).run(tmp_path / "cached")
    with pytest.raises(UserError, match=r"started without --text-states.* leave it out"):
        encoded_by(folder, "one", 2, text_states=str(states)).run(tmp_path / "plain")
    with pytest.raises(UserError, match=r"started with --text-states.* pass states of the same"):
        encoded_by(folder, "one", 2).run(tmp_path / "cached")
    moved = shutil.move(states, tmp_path / "moved")
    assert encoded_by(folder, "one", 2, text_states=str(moved)).run(tmp_path / "cached").step == 2


def test_a_text_encoder_of_another_kind_is_frozen(folder: Path, tmp_path: Path) -> None:
    pipeline = folder / "run" / "pipeline"
    ours = training(folder, "tiny256", init=str(pipeline))
    assert ours.text_encoder is None
    with pytest.raises(UserError, match="needs a text encoder that is frozen"):
        training(folder, "tiny256", init=str(pipeline), text_states="text")
    other = shutil.copytree(pipeline, tmp_path / "other") / "text_encoder"
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "_class_name": "CLIPTextModelWithProjection"}))
    run = training(folder, "tiny256", init=str(other.parent), text_states="text")
    assert run.text_encoder == other and run.record()["text_encoder"] == encoder_hash(other)


def test_runs_in_buckets_are_measured_against_squares(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch_fidelity")
    reported = {"tokenizer": str(folder / "tokenizer"), "sampling_steps": 1, "fid_every": 1, "fid_images": 4}
    training(folder, "tiny512", buckets=True, **reported).run(tmp_path / "run")
    training(folder, "tiny512", **reported).run(tmp_path / "squares")
    buckets, squares = (json.loads((tmp_path / name / "fid.jsonl").read_text()) for name in ("run", "squares"))
    assert buckets["references_n"] == squares["references_n"] == 8
    assert buckets["fid"] > 0


def test_split_weights_are_sampled_without_shortcuts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = encoded_by(folder, None)
    quick = Speed(last_block=False, compile=True, cache=FeatureCache(2), guidance_every=2)
    run = replace(run, sampling=replace(run.sampling, speed=quick))
    objective = run.objective(ConvTokenizer.from_pretrained(folder / "tokenizer"))
    assert run.pipeline(objective).preset.speed == quick
    monkeypatch.setattr(generator, "is_split", lambda module: True)
    assert run.pipeline(objective).preset.speed == Speed(last_block=False)
