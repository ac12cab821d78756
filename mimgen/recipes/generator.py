"""Training a generator on a tokenizer's ids."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mimgen.data import Dataset, StreamedDataset, with_codes
from mimgen.data.codes import codes_of, key_of
from mimgen.data.codes_folder import open_codes
from mimgen.errors import UserError
from mimgen.objectives import MaskedTokens
from mimgen.ops.launch import first_process
from mimgen.pipelines import Preset, TextToImage
from mimgen.pipelines.parts import token_grid
from mimgen.recipes.generation_fid import FidWatch
from mimgen.recipes.pictures import Pictures, first, loader, rarer_shown_more, record
from mimgen.recipes.tokenizers import DiscreteTokenizer, encoder_of, load_tokenizer, tokenize
from mimgen.training import Result, Settings, fit, load_ema

Watch = Callable[[TextToImage, int], None]


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
        codes: folder of `mimgen data cache-codes`; without it the ids are computed when the run starts.
        flips: mirror half of the pictures, drawn anew for each sample.
        options: further arguments of the config that differ from its defaults; a run goes on with the same only.
        balance: name of the labels by whose classes rare pictures are shown more often; None for all alike.
        fid: measure the FID to the training data in the course of the run, into `<out>/fid.jsonl`; None for never.
    """

    name: str
    size: str
    build: Callable[[DiscreteTokenizer], MaskedTokens]
    tokenizer: str | None
    pictures: Pictures
    settings: Settings
    sampling: Preset
    codes: str | None = None
    flips: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    balance: str | None = None
    fid: FidWatch | None = None

    def run(self, out: Path, watch: Watch | None = None) -> Result:
        """Train or go on training in the run folder `out`; returns the loop's result.

        Args:
            out: the run folder.
            watch: called with the pipeline under averaged weights and the step whenever samples are logged.

        Raises:
            UserError: no tokenizer, one that does not divide the pictures, cached codes of something else, or an
                FID that cannot be measured.
        """
        if self.tokenizer is None:
            raise UserError(f"{self.name} needs a tokenizer; train one (mimgen train vqgan) and pass --tokenizer")
        tokenizer = load_tokenizer(self.tokenizer)
        token_grid(tokenizer, self.pictures.size, self.pictures.size)
        dataset = self.pictures.open()
        if self.balance is not None:
            rarer_shown_more(dataset, self.balance)  # wrong labels are refused before anything is computed
        prompts = [sample.caption for sample in first(dataset)]
        measure = self.fid.start(dataset, out) if self.fid is not None and self.fid.every else None

        def images(objective: nn.Module, step: int) -> dict[str, Tensor]:
            pipeline = self.pipeline(cast(MaskedTokens, objective))
            if measure is not None and self._due(measure.watch.every, step):
                measure(pipeline, step)
            if not self._due(self.settings.sample_every, step):
                return {}
            if watch is not None:
                watch(pipeline, step)
            return {"samples": pipeline(prompts).images}

        torch.manual_seed(self.settings.seed)
        objective = self.build(tokenizer)
        coded = self._coded(dataset, tokenizer)
        coded = coded if self.balance is None else rarer_shown_more(coded, self.balance)
        settings = self.settings
        if measure is not None:  # the loop asks for pictures whenever grids or the FID are due
            settings = replace(settings, sample_every=math.gcd(settings.sample_every, measure.watch.every))
        result = fit(objective, loader(coded, settings), settings, out, images=images, record=self.record())
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
        facts = record(self.name, self.size, self.pictures, self.options, tokenizer=self.tokenizer)
        # left out where it says nothing, so that runs begun before it existed go on
        return {**facts, "flips": True} if self.flips else facts

    def with_tokenizer(self, folder: Path) -> TrainGenerator:
        """The same run on the tokenizer in `folder`."""
        return replace(self, tokenizer=str(folder))

    def _due(self, every: int, step: int) -> bool:
        return step % every == 0 or step == self.settings.steps

    def _coded(self, dataset: Dataset | StreamedDataset, tokenizer: DiscreteTokenizer) -> Dataset | StreamedDataset:
        """The data with ids: from the cache, or computed here and kept in memory."""
        if not isinstance(dataset, Dataset):
            if self.codes or self.flips:
                raise UserError(f"{dataset.name} is a stream: leave out --codes and --flips, or keep the data on disk")
            return dataset
        if self.flips and self.pictures.spec == "emoji":
            raise UserError("emoji are not flipped: clocks, flags and arrows would change; leave out --flips")
        if self.codes is not None:
            key = key_of(dataset, self.pictures.size, cast(nn.Module, tokenizer))
            return open_codes(Path(self.codes), dataset, key, flip=self.flips)
        if self.flips:
            return codes_of(dataset, encoder_of(tokenizer), flip=True)
        if getattr(dataset, "augments", False):
            return dataset
        return with_codes(dataset, tokenize(dataset, tokenizer))
