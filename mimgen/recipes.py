"""Typed runs: what a config returns and the command line carries out.

A run holds a builder, not a built model, so that looking at a config costs nothing and the weights
are drawn after the run's seed is set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from mimgen.data import Dataset, Loader, StreamedDataset, StreamLoader, open_data, with_codes
from mimgen.errors import UserError
from mimgen.objectives import MaskedTokens, Reconstruction
from mimgen.ops.launch import first_process
from mimgen.pipelines import Preset, TextToImage
from mimgen.pipelines.parts import load_part
from mimgen.tokenizers import ConvTokenizer, DiffusersVQ
from mimgen.training import Result, Settings, fit, load_ema

__all__ = [
    "Pictures",
    "Run",
    "TrainGenerator",
    "TrainTokenizer",
    "choose_size",
    "load_tokenizer",
    "tokenize",
]

SHOWN = 8  # pictures in the grids that a run logs

DiscreteTokenizer = ConvTokenizer | DiffusersVQ
Size = TypeVar("Size")
Watch = Callable[[TextToImage, int], None]


@dataclass(frozen=True)
class Pictures:
    """Where a run's pictures come from.

    Attributes:
        spec: "emoji", a folder, shards or a saved dataset; see `mimgen.data.open_data`.
        size: side in pixels.
        split: None takes "train" of the built-in emoji and everything of other data.
    """

    spec: str = "emoji"
    size: int = 64
    split: str | None = None

    def open(self) -> Dataset | StreamedDataset:
        """Open the data."""
        split = "train" if self.split is None and self.spec == "emoji" else self.split
        return open_data(self.spec, size=self.size, split=split)


@dataclass(frozen=True)
class TrainTokenizer:
    """Train a tokenizer; leaves `<out>/tokenizer`, a folder that `from_pretrained` loads.

    Attributes:
        name: name of the config.
        size: name of the size.
        build: makes the objective with fresh weights.
        pictures: the data.
        settings: of the loop.
    """

    name: str
    size: str
    build: Callable[[], Reconstruction]
    pictures: Pictures
    settings: Settings

    def run(self, out: Path) -> Result:
        """Train or go on training in the run folder `out`; returns the loop's result."""
        dataset = self.pictures.open()
        shown = torch.stack([sample.image for sample in _first(dataset, SHOWN)]).float() / 255

        def images(objective: nn.Module, step: int) -> dict[str, Tensor]:
            return {"true_and_reconstructed": _pairs(shown, cast(ConvTokenizer, objective.tokenizer))}

        torch.manual_seed(self.settings.seed)
        objective = self.build()
        result = fit(objective, _loader(dataset, self.settings), self.settings, out, images=images,
                     record=self.record())  # fmt: skip
        if first_process():
            load_ema(out, objective)
            cast(ConvTokenizer, objective.tokenizer).save_pretrained(out / "tokenizer")
        return result

    def record(self) -> dict[str, Any]:
        """What the checkpoints say about the run."""
        return {"name": self.name, "size": self.size, "data": self.pictures.spec, "pixels": self.pictures.size}


@dataclass(frozen=True)
class TrainGenerator:
    """Train a generator on a tokenizer's ids; leaves `<out>/pipeline`, which `mimgen generate` loads.

    Attributes:
        name: name of the config.
        size: name of the size.
        build: makes the objective around a tokenizer, with fresh weights.
        tokenizer: folder of the tokenizer; None until one is chosen or trained.
        pictures: the data.
        settings: of the loop.
        sampling: how pictures are sampled; saved with the pipeline.
    """

    name: str
    size: str
    build: Callable[[DiscreteTokenizer], MaskedTokens]
    tokenizer: str | None
    pictures: Pictures
    settings: Settings
    sampling: Preset

    def run(self, out: Path, watch: Watch | None = None) -> Result:
        """Train or go on training in the run folder `out`; returns the loop's result.

        Args:
            out: the run folder.
            watch: called with the pipeline under averaged weights and the step whenever samples are logged.

        Raises:
            UserError: no tokenizer, or one that does not divide the pictures.
        """
        if self.tokenizer is None:
            raise UserError(f"{self.name} needs a tokenizer; train one (mimgen train vqgan) and pass --tokenizer")
        tokenizer = load_tokenizer(self.tokenizer)
        dataset = self.pictures.open()
        prompts = [sample.caption for sample in _first(dataset, SHOWN)]

        def images(objective: nn.Module, step: int) -> dict[str, Tensor]:
            pipeline = self.pipeline(cast(MaskedTokens, objective))
            if watch is not None:
                watch(pipeline, step)
            return {"samples": pipeline(prompts).images}

        torch.manual_seed(self.settings.seed)
        objective = self.build(tokenizer)
        if isinstance(dataset, Dataset) and not getattr(dataset, "augments", False):
            dataset = with_codes(dataset, tokenize(dataset, tokenizer))
        result = fit(objective, _loader(dataset, self.settings), self.settings, out, images=images,
                     record=self.record())  # fmt: skip
        if first_process():
            load_ema(out, objective)
            self.pipeline(objective).save(out / "pipeline")
        return result

    def pipeline(self, objective: MaskedTokens) -> TextToImage:
        """The parts of the objective as a pipeline that samples as this run says."""
        return TextToImage(
            objective.transformer,
            objective.tokenizer,
            objective.text_encoder,
            replace(self.sampling, resolution=(self.pictures.size, self.pictures.size)),
        )

    def record(self) -> dict[str, Any]:
        """What the checkpoints say about the run."""
        return {
            "name": self.name, "size": self.size, "data": self.pictures.spec, "pixels": self.pictures.size,
            "tokenizer": self.tokenizer,
        }  # fmt: skip

    def with_tokenizer(self, folder: Path) -> TrainGenerator:
        """The same run on the tokenizer in `folder`."""
        return replace(self, tokenizer=str(folder))


Run = TrainTokenizer | TrainGenerator


def choose_size(sizes: Mapping[str, Size], name: str) -> Size:
    """The entry `name` of a config's table of sizes; a UserError lists them where there is none."""
    if name not in sizes:
        raise UserError(f"size {name!r} does not exist; choose from {', '.join(sizes)}")
    return sizes[name]


def load_tokenizer(folder: str | Path) -> DiscreteTokenizer:
    """A tokenizer (ours or diffusers' `VQModel`) from its own folder, a run folder, or a pipeline folder.

    Raises:
        UserError: none of them holds a tokenizer.
    """
    root = Path(folder)
    for place in (root, root / "tokenizer", root / "vqvae", root / "pipeline" / "vqvae"):
        if (place / "config.json").is_file():
            tokenizer: DiscreteTokenizer = load_part("vqvae", place).eval()
            return tokenizer
    raise UserError(f"no tokenizer in {root}; pass the --out folder of `mimgen train vqgan`, or a pipeline folder")


@torch.no_grad()
def tokenize(dataset: Dataset, tokenizer: DiscreteTokenizer, *, batch_size: int = 64) -> Tensor:
    """[len, h, w] int64 ids of every picture, on the CPU, so that training need not encode them again."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = tokenizer.to(device).eval()
    parts = []
    for start in range(0, len(dataset), batch_size):
        rows = range(start, min(start + batch_size, len(dataset)))
        pictures = torch.stack([dataset[row].image for row in rows]).float() / 255
        indices = tokenizer.encode(pictures.to(device)).indices
        assert indices is not None, "a tokenizer with a codebook always fills indices"
        parts.append(indices.cpu())
    return torch.cat(parts)


def _loader(dataset: Dataset | StreamedDataset, settings: Settings) -> Loader | StreamLoader:
    if isinstance(dataset, Dataset):
        return Loader(dataset, settings.batch_size, settings.seed)
    return StreamLoader(dataset, settings.batch_size, settings.seed)


def _first(dataset: Dataset | StreamedDataset, count: int) -> list[Any]:
    """Up to `count` samples, spread over the set where that is possible."""
    if isinstance(dataset, Dataset):
        if not len(dataset):
            raise UserError(f"{dataset.name} holds no pictures; check the split and the folder")
        step = max(1, len(dataset) // count)
        return [dataset[index] for index in range(0, len(dataset), step)][:count]
    return [sample for sample, _ in zip(dataset.samples(0, 0), range(count))]


@torch.no_grad()
def _pairs(pictures: Tensor, tokenizer: ConvTokenizer) -> Tensor:
    """[2n, 3, H, W]: each picture followed by its reconstruction."""
    made = tokenizer.decode(tokenizer.encode(pictures.to(tokenizer.device))).cpu()
    return torch.stack([pictures, made], dim=1).flatten(0, 1)
