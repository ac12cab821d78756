"""The paper's four stages in seconds, adapters, buckets and cached text: what a run begins with and leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mimgen import configs
from mimgen.encoders import CachedText
from mimgen.encoders.text_cache import cache_text, encoder_hash
from mimgen.errors import UserError
from mimgen.generators.meissonic.objective import MaskedTokens
from mimgen.pipelines import TextToImagePipeline
from mimgen.tokenizers import ConvTokenizer
from mimgen.training import load_adapter
from mimgen.training.optim import decay_split
from mimgen.types import Batch, SampleRNG
from tests.recipes.stages import stage_folder, training, weights

STAGES = ("tiny256", "tiny512", "tiny1024", "tiny-preference")
NEW = ("down_block.", "up_block.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of several shapes with captions and scores, and a tokenizer."""
    return stage_folder(tmp_path_factory.mktemp("stages"))


@pytest.fixture(scope="module")
def first(folder: Path) -> Path:
    """The run of the first stage."""
    training(folder, "tiny256", tokenizer=str(folder / "tokenizer")).run(folder / "first")
    return folder / "first"


def test_four_stages_carry_their_weights_on(folder: Path, first: Path, tmp_path: Path) -> None:
    before, last = first, first
    for number, size in enumerate(STAGES[1:]):
        run = training(folder, size, steps=0, init=str(before))
        assert run.init_from is not None and run.init_from.grows == (size == "tiny1024")
        assert ("new, sampled at random: down_block, up_block" in run.init_from.summary()) == run.init_from.grows
        built = run.objective(ConvTokenizer.from_pretrained(folder / "tokenizer"))
        old, new = weights(before), built.transformer.state_dict()
        assert {name for name in new if name not in old} == {n for n in new if n.startswith(NEW)} - old.keys()
        assert all(torch.equal(value, new[name]) for name, value in old.items()), "nothing else is new"
        last = tmp_path / str(number)
        training(folder, size, init=str(before)).run(last)
        assert not torch.equal(weights(last)["project_to_hidden.weight"], old["project_to_hidden.weight"])
        before = last
    pipeline = TextToImagePipeline.load(last / "pipeline")
    assert pipeline.transformer.compression == 2 and pipeline.preset.resolution == (32, 32)
    assert pipeline(["image 1"], steps=2).images.shape == (1, 3, 32, 32)


def test_the_paper_s_stages() -> None:
    stages = {}
    for size in ("stage256", "stage512", "stage1024", "preference"):
        run = configs.experiment("meissonic")(size=size)
        settings = run.settings
        stages[size] = (run.data_config.size, settings.batch_size, settings.steps, round(settings.lr, 9), settings.clip)
    assert stages["stage256"] == (256, 2048, 100_000, 1e-4, 10)
    assert stages["stage512"] == (512, 512, 100_000, 1e-4, 10)
    assert stages["stage1024"] == (1024, 256, 42_000, 1e-4, 10)
    assert stages["preference"][3] < 1e-4 and run.needs_scores


def test_biases_norms_and_embeddings_do_not_decay(folder: Path, first: Path) -> None:
    transformer = TextToImagePipeline.load(first / "pipeline").transformer
    names = {id(parameter): name for name, parameter in transformer.named_parameters()}
    decayed, exempt = ([names[id(p)] for p in part] for part in decay_split(transformer.requires_grad_()))
    assert {name for name in names.values() if name.endswith(".bias") or "norm_" in name} <= set(exempt)
    assert {"embed.layer_norm.weight", "mlm_layer.layer_norm.weight", "embed.embeddings.weight"} <= set(exempt)
    matrices = {"embed.conv.weight", "mlm_layer.conv2.weight", "single_transformer_blocks.0.proj_out.weight"}
    assert matrices <= set(decayed)


def test_what_the_start_decides(folder: Path, first: Path, tmp_path: Path) -> None:
    run = training(folder, "tiny256", init=str(first), guidance=2.0)
    kept = TextToImagePipeline.load(first / "pipeline").preset
    assert run.sampling == replace(kept, guidance_scale=2.0)
    assert run.tokenizer == str(first / "pipeline" / "vqvae")
    assert run.record()["init"] == str(first / "pipeline")
    bundled = training(folder, "emoji64", init="bundled")
    assert bundled.sampling.steps == 1 and bundled.init_from is not None and not bundled.init_from.grows
    with pytest.raises(UserError, match=r"no such folder.*--init takes"):
        training(folder, "tiny256", init=str(tmp_path / "nowhere"))
    other = ConvTokenizer(8, (1,), 1, 4, quantizer="fsq", levels=(4, 5))
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="trained on 16 codes, the tokenizer has 20"):
        training(folder, "tiny256", init=str(first), tokenizer=str(tmp_path / "other")).run(tmp_path / "run")


def test_the_preference_stage_wants_scores(folder: Path, first: Path, tmp_path: Path) -> None:
    seen: list[Tensor] = []
    run = training(folder, "tiny-preference", init=str(first))
    original = MaskedTokens.losses

    def losses(self: MaskedTokens, *given: Any) -> Any:
        seen.append(given[-1])
        return original(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MaskedTokens, "losses", losses)
        run.run(tmp_path / "run")
    assert set(seen[0][:, 4].tolist()) <= {4.0 + n / 4 for n in range(8)} and len(set(seen[0][:, 4].tolist())) == 4
    with pytest.raises(UserError, match='give each image a number "score"'):
        training(folder, "tiny-preference", init=str(first), data="emoji").run(tmp_path / "refused")


def test_adapters_end_to_end(folder: Path, first: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    changes = {"init": str(first), "lora": 2, "base_lr": 1.0}
    training(folder, "tiny256", steps=3, **changes).run(tmp_path / "straight")
    old, new = weights(first), weights(tmp_path / "straight")
    changed = {name for name, value in new.items() if not torch.equal(value, old[name])}
    assert changed and all(".attn." in n or ".ff" in n or ".proj_" in n for n in changed)
    assert old.keys() == new.keys(), "the pipeline is a plain one"
    transformer = TextToImagePipeline.load(first / "pipeline").transformer
    load_adapter(transformer, tmp_path / "straight" / "adapter")
    for name, value in transformer.state_dict().items():
        torch.testing.assert_close(value, new[name], msg=name)
    runs = (first, tmp_path / "straight")
    text = [TextToImagePipeline.load(run / "pipeline").text_encoder.state_dict() for run in runs]
    assert all(torch.equal(value, text[1][name]) for name, value in text[0].items()), "the text encoder is frozen"
    # stopped after one step and continued it is the same run
    training(folder, "tiny256", steps=3, time_limit=0.0, **changes).run(tmp_path / "parts")
    result = training(folder, "tiny256", steps=3, **changes).run(tmp_path / "parts")
    assert result.step == 3
    again = weights(tmp_path / "parts")
    assert all(torch.equal(value, again[name]) for name, value in new.items())
    with pytest.raises(UserError, match="lora"):
        training(folder, "tiny256", steps=3, **{**changes, "lora": 3}).run(tmp_path / "parts")


def test_adapters_need_weights_that_are_there(folder: Path, first: Path) -> None:
    with pytest.raises(UserError, match="pass --init, such as --init bundled"):
        training(folder, "tiny256", lora=2)
    with pytest.raises(UserError, match="adapters cannot learn it"):
        training(folder, "tiny1024", lora=2, init=str(first))


def test_buckets_train_on_several_shapes(folder: Path, first: Path, tmp_path: Path) -> None:
    shapes = set()
    original = MaskedTokens.losses

    def losses(self: MaskedTokens, tokens: Tensor, *rest: Any) -> Any:
        shapes.add(tuple(tokens.shape[1:]))
        return original(self, tokens, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MaskedTokens, "losses", losses)
        training(folder, "tiny512", steps=6, init=str(first), buckets=True).run(tmp_path / "run")
    assert shapes == {(6, 6), (5, 7), (7, 5)}
    run = training(folder, "tiny1024", init=str(first), buckets=True)
    assert run.cell == 2 and run.record()["buckets"] is True
    for wrong, words in (
        ({"data": "emoji"}, "leave out --buckets"),
        ({"codes": str(tmp_path)}, "cached codes are of squares"),
        ({"balance": "class"}, "leave out --balance or --buckets"),
    ):
        with pytest.raises(UserError, match=words):
            training(folder, "tiny512", init=str(first), **{"buckets": True, **wrong}).run(tmp_path / "refused")


@pytest.fixture
def text_states(first: Path, tmp_path: Path) -> Path:
    encoder = first / "pipeline" / "text_encoder"
    captions = [f"image {number}" for number in range(8)]
    loaded = TextToImagePipeline.load(first / "pipeline").text_encoder
    return cache_text(tmp_path / "text", captions, loaded, encoder_hash(encoder), precision="fp32", batch_size=4)


def test_cached_text_trains_like_the_encoder(
    folder: Path, first: Path, text_states: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    changes = {"init": str(first), "lora": 2, "base_lr": 0.1, "drop_condition": 0.4}
    cached = training(folder, "tiny256", steps=2, text_states=str(text_states), checkpointing=True, **changes)
    plain = training(folder, "tiny256", steps=2, **changes)
    tokenizer = ConvTokenizer.from_pretrained(folder / "tokenizer")
    seen = []
    for run in (cached, plain):
        objective = run.objective(tokenizer)
        assert isinstance(objective.text_encoder, CachedText) == (run is cached)
        batch = Batch(
            images=torch.zeros(4, 3, 16, 16),
            captions=tuple(f"image {number}" for number in range(4)),
            keys=tuple("abcd"),
            rng=SampleRNG.for_rows(0, 0, range(4)),
            codes=torch.arange(64).view(4, 4, 4) % 16,
        )
        loss = objective(batch).total
        loss.backward()
        gradients = {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}
        seen.append((loss.detach(), gradients))
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-4, atol=1e-6)
    cached.run(tmp_path / "cached")
    assert (tmp_path / "cached" / "pipeline" / "text_encoder" / "config.json").is_file()
    with pytest.raises(UserError, match="needs a text encoder that is frozen"):
        training(folder, "tiny256", text_states=str(text_states))
