"""Runs: every discrete tokenizer under a generator, cached codes, and what each run leaves behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mimgen import configs
from mimgen.data import Dataset
from mimgen.data.cache.codes import key_of
from mimgen.data.cache.codes_folder import cache_codes
from mimgen.errors import UserError
from mimgen.pipelines import TextToImagePipeline
from mimgen.pretrained import PretrainedModule
from mimgen.recipes import (
    Build,
    DataConfig,
    Pretrain,
    TrainGenerator,
    TrainTokenizer,
    encoder_of,
    load_image_quantizer,
    load_tokenizer,
)
from mimgen.tokenizers.centroids import CentroidTokenizer
from mimgen.tokenizers.conv import ConvTokenizer
from mimgen.tokenizers.llamagen.model import LlamaGenVQ
from mimgen.tokenizers.magvit2.model import OpenMagvit2
from mimgen.tokenizers.mergevq import MergeVQ
from mimgen.tokenizers.titok import TiTok
from mimgen.training import Settings, Trainable
from mimgen.types import Batch, Losses

SHORT = Settings(steps=1, batch_size=4, precision="fp32", tracker="none", sample_every=1)


def titok() -> TiTok:
    small = (16, 1, 2)
    return TiTok(16, 8, 4, encoder=small, decoder=small, codebook_size=16, token_size=4)


def mergevq() -> MergeVQ:
    return MergeVQ(16, 16, (1, 1, 2), 1, bits=4, layers=2, heads=2, keep=9, candidates=None, head=None, rep_dim=1)


TOKENIZERS: dict[str, Any] = {
    "ConvTokenizer": lambda: ConvTokenizer(8, (1,), 1, 4, quantizer="fsq", levels=(4, 4)),
    "OpenMagvit2": lambda: OpenMagvit2(16, (1, 1, 2), 1, 4),
    "MergeVQ": mergevq,
    "LlamaGenVQ": lambda: LlamaGenVQ(32, (1, 1, 1), blocks=1, z_channels=16, codebook_size=16),
    "TiTok": titok,
    "CentroidTokenizer": lambda: CentroidTokenizer(4, 16),
}


def saved(name: str, folder: Path) -> Path:
    torch.manual_seed(0)
    TOKENIZERS[name]().eval().save_pretrained(folder)
    return folder


def make_images(folder: Path, count: int = 6) -> str:
    folder.mkdir(exist_ok=True)
    noise = torch.Generator().manual_seed(0)
    for number in range(count):
        pixels = torch.randint(0, 256, (16, 16, 3), generator=noise, dtype=torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"image {number}")
    return str(folder)


def generator(**changes: Any) -> TrainGenerator:
    run = configs.experiment("meissonic")(size="tiny", sampling_steps=1, **changes)
    assert isinstance(run, TrainGenerator)
    return replace(run, settings=SHORT)


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
def test_a_generator_trains_on_every_tokenizer(name: str, tmp_path: Path) -> None:
    folder = saved(name, tmp_path / "tokenizer")
    run = generator(tokenizer=str(folder), data=make_images(tmp_path / "images"))
    run.run(tmp_path / "run")
    pipeline = TextToImagePipeline.load(tmp_path / "run" / "pipeline")
    output = pipeline(["image 1"], steps=2)
    assert type(pipeline.vqvae).__name__ == name
    assert output.images.shape == (1, 3, 16, 16)
    assert output.tokens.shape[1:] == ((1, 8) if name == "TiTok" else (4, 4))


def test_cached_codes_train_to_the_same_weights(tmp_path: Path) -> None:
    data, folder = make_images(tmp_path / "images"), saved("ConvTokenizer", tmp_path / "tokenizer")
    tokenizer, dataset = load_tokenizer(folder), DataConfig(data, 16).open()
    assert isinstance(dataset, Dataset)
    assert isinstance(tokenizer, ConvTokenizer)
    cache_codes(tmp_path / "codes", dataset, encoder_of(tokenizer), key_of(dataset, 16, tokenizer))
    chosen = {"tokenizer": str(folder), "data": data}
    states = []
    for name, more in (("plain", {}), ("cached", {"codes": str(tmp_path / "codes")})):
        generator(**chosen, **more).run(tmp_path / name)
        states.append(TextToImagePipeline.load(tmp_path / name / "pipeline").transformer.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    run = generator(**chosen, codes=str(tmp_path / "codes"), flips=True).run(tmp_path / "flipped")
    assert run.step == 1
    other = saved("ConvTokenizer", tmp_path / "other")
    changed = ConvTokenizer.from_pretrained(other)
    nn.init.zeros_(changed.decoder.out.bias)
    changed.save_pretrained(other)
    with pytest.raises(UserError, match="another weights"):
        generator(tokenizer=str(other), data=data, codes=str(tmp_path / "codes")).run(tmp_path / "refused")


def test_tokenizers_that_cannot_be_drawn_with(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "config.json").write_text('{"_class_name": "VqKd"}')
    with pytest.raises(UserError, match="codes stand for features"):
        generator(tokenizer=str(tmp_path / "features")).run(tmp_path / "run")
    small = (16, 1, 2)
    continuous = TiTok(16, 8, 4, encoder=small, decoder=small, quantizer="kl", token_size=4)
    continuous.save_pretrained(tmp_path / "continuous")
    with pytest.raises(UserError, match="is continuous"):
        load_tokenizer(tmp_path / "continuous")
    assert isinstance(load_image_quantizer(tmp_path / "continuous"), TiTok)
    folder = saved("ConvTokenizer", tmp_path / "tokenizer")
    with pytest.raises(UserError, match="multiples of 4"):
        generator(tokenizer=str(folder), pixels=18).run(tmp_path / "run")
    with pytest.raises(UserError, match="emoji are not flipped"):
        generator(tokenizer=str(folder), flips=True).run(tmp_path / "run")
    with pytest.raises(UserError, match="no tokenizer in"):
        load_tokenizer(tmp_path / "run")


class Judge(PretrainedModule):
    """Something to be saved beside a tokenizer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))


class Objective(Trainable):
    """Whatever has a tokenizer, an encoder and maybe a discriminator."""

    def __init__(self, discriminator: nn.Module | None = None) -> None:
        super().__init__()
        self.tokenizer = TOKENIZERS["ConvTokenizer"]()
        self.encoder, self.discriminator = Judge(), discriminator

    def forward(self, batch: Batch) -> Losses:
        made, _ = self.tokenizer(batch.images)
        module: Tensor = self.encoder.weight.sum()
        if self.discriminator is not None:
            module = module + self.discriminator.weight.sum()
        return Losses({"l2": (made - batch.images).square().mean() + module})


def test_a_discriminator_is_left_beside_the_tokenizer(tmp_path: Path) -> None:
    data = DataConfig(make_images(tmp_path / "images"), 16)
    TrainTokenizer("toy", "tiny", lambda: Objective(Judge()), data, SHORT).run(tmp_path / "with")
    kept = Judge.from_pretrained(tmp_path / "with" / "discriminator")
    assert bool((kept.weight < 0).all()), "as it was trained, not its average"
    TrainTokenizer("toy", "tiny", Objective, data, SHORT).run(tmp_path / "without")
    assert isinstance(load_tokenizer(tmp_path / "without"), ConvTokenizer)
    assert not (tmp_path / "without" / "discriminator").exists()


def test_pretraining_leaves_the_encoder(tmp_path: Path) -> None:
    data = DataConfig(make_images(tmp_path / "images"), 16)
    assert Pretrain("toy", "tiny", Objective, data, SHORT).run(tmp_path / "run").step == 1
    Judge.from_pretrained(tmp_path / "run" / "encoder")


def test_building_leaves_a_tokenizer_and_its_size(tmp_path: Path) -> None:
    data = DataConfig(make_images(tmp_path / "images"), 16)
    seen = []

    def build(dataset: Dataset) -> CentroidTokenizer:
        seen.append(len(dataset))
        return CentroidTokenizer(4, 8)

    run = Build("toy", "tiny", data, 0, build)
    assert run.run(tmp_path / "run").losses[0]["images"] == 6
    run.run(tmp_path / "run")
    assert seen == [6], "a finished tokenizer is not built again"
    assert load_tokenizer(tmp_path / "run").codebook_size == 8
    from mimgen.pipelines.open import open_tokenizer

    assert open_tokenizer(str(tmp_path / "run"))[1] == 16
    with pytest.raises(UserError, match=r"codes \(was absent, now 8\)"):
        replace(run, options={"codes": 8}).run(tmp_path / "run")


def test_a_run_goes_on_with_the_same_options_only(tmp_path: Path) -> None:
    data = DataConfig(make_images(tmp_path / "images"), 16)
    run = Pretrain("toy", "tiny", Objective, data, SHORT, {"variant": "R"})
    assert run.run(tmp_path / "run").step == 1
    assert run.run(tmp_path / "run").step == 1
    with pytest.raises(UserError, match=r"variant \(was R, now G\)"):
        replace(run, options={"variant": "G"}).run(tmp_path / "run")
