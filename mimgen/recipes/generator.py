"""Training a generator on a tokenizer's ids."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mimgen.encoders import CachedText
from mimgen.encoders.text_cache import encoder_hash
from mimgen.errors import UserError
from mimgen.generators import GeneratorObjective
from mimgen.layers.recompute import recompute
from mimgen.ops.launch import is_main_process
from mimgen.pipelines import Pipeline, Preset
from mimgen.pipelines.load import pipeline_of
from mimgen.pipelines.parts import token_grid
from mimgen.recipes.common import Recorded
from mimgen.recipes.data_config import DataConfig, class_balanced, loader, preview_samples, record
from mimgen.recipes.generation_fid import FidWatch
from mimgen.recipes.generator_data import Data, bucketed, check_has_scores, coded
from mimgen.recipes.generator_text import record_with_text
from mimgen.recipes.init_from import InitFrom, open_text_encoder
from mimgen.tokenizers import Tokenizer
from mimgen.tokenizers.open import load_tokenizer
from mimgen.training import Result, Settings, fit, load_ema
from mimgen.training.lora import Lora, add_lora, merge_lora, save_adapter
from mimgen.training.shard import gathered, is_split

Watch = Callable[[Pipeline, int], None]


@dataclass(frozen=True)
class TrainGenerator(Recorded):
    """Train any generator on a tokenizer's ids; leaves `<out>/pipeline`, which `mimgen generate` loads.

    With adapters, they are left in `<out>/adapter`, and added to the weights of the pipeline.

    Attributes:
        name: name of the config.
        size: name of the size.
        build: makes the objective around a tokenizer, with fresh weights.
        tokenizer: folder of the tokenizer; None until one is chosen or trained.
        data_config: the data.
        settings: of the loop.
        sampling: how images are sampled; saved with the pipeline.
        codes: folder of `mimgen data cache-codes`; without it the ids are computed when the run starts.
        flips: mirror half of the images, generated anew for each sample.
        options: further arguments of the config that differ from its defaults; a run resumes with the same only.
        balance: name of the labels by whose classes rare images are shown more often; None for all alike.
        fid: measure the FID to the training data in the course of the run, into `<out>/fid.jsonl`; None for never.
        init_from: the pipeline whose weights `build` takes; None for fresh ones.
        lora: adapters are trained in the place of the weights, and the text encoder is not; None trains all.
        recomputed: gradient checkpointing: blocks keep their inputs only.
        cell: tokens that the generator takes together along a side where images of other shapes than squares
            are trained on, in buckets of equal token count; 0 crops every image to a square.
        needs_scores: the data must tell preference scores.
        tokenizer_size: size of the tokenizer that is trained where none is given; None for this size's name.
        tokenizer_config: the config of that tokenizer.
        text_encoder: folder of the text encoder that `build` freezes; None where it is trained along.
    """

    # where codes and text states lie (the run itself refuses other ones), memory, how it samples
    MAY_CHANGE = frozenset({"codes", "text_states", "checkpointing", "sampling_steps", "guidance", "temperature"})

    name: str
    size: str
    build: Callable[[Tokenizer], GeneratorObjective]
    tokenizer: str | None
    data_config: DataConfig
    settings: Settings
    sampling: Preset
    codes: str | None = None
    flips: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    balance: str | None = None
    fid: FidWatch | None = None
    init_from: InitFrom | None = None
    lora: Lora | None = None
    recomputed: bool = False
    cell: int = 0
    needs_scores: bool = False
    tokenizer_size: str | None = None
    tokenizer_config: str = "vqgan"
    text_encoder: Path | None = None

    def run(self, out: Path, watch: Watch | None = None) -> Result:
        """Train or resume training in the run folder `out`; returns the loop's result.

        Args:
            out: the run folder.
            watch: called with the pipeline under averaged weights and the step whenever samples are logged.

        Raises:
            UserError: no tokenizer, one that does not divide the images, cached codes of something else, data
                without the scores or shapes that are asked for, an FID that cannot be measured, or a run in `out` that
                was started with other settings.
        """
        if self.tokenizer is None:
            raise UserError(f"{self.name} needs a tokenizer; train one (mimgen train vqgan) and pass --tokenizer")
        tokenizer = load_tokenizer(self.tokenizer)
        token_grid(tokenizer, self.data_config.size, self.data_config.size)
        squares = self._open()
        dataset = self._bucketed(squares, tokenizer)
        shown = preview_samples(squares)
        # squares are generated, whatever shapes are trained on, and so squares are what they are measured against
        measure = self.fid.start(squares, out) if self.fid is not None and self.fid.every else None

        def images(objective: nn.Module, step: int) -> dict[str, Tensor]:
            pipeline = self.pipeline(cast(GeneratorObjective, objective))
            if measure is not None and self._due(measure.watch.every, step):
                measure(pipeline, step)
            if not self._due(self.settings.sample_every, step):
                return {}
            if watch is not None:
                watch(pipeline, step)
            return {"samples": pipeline([pipeline.request_of(sample) for sample in shown]).images}

        def previews(objective: nn.Module, step: int) -> dict[str, Tensor]:
            with gathered(objective):
                return images(objective, step)

        objective = self.objective(tokenizer)
        recorded = record_with_text(self.record(), objective.parts().get("text_encoder"), out)
        ids = self._coded(dataset, tokenizer)
        settings = self.settings
        if measure is not None:  # the loop asks for images whenever grids or the FID are due
            settings = replace(settings, sample_every=math.gcd(settings.sample_every, measure.watch.every))
        result = fit(objective, loader(ids, settings), settings, out, images=previews, record=recorded)
        if is_main_process():
            # weights that are split over processes cannot be written by one of them
            self._leave(self.objective(tokenizer) if is_split(objective) else objective, out)
        return result

    def objective(self, tokenizer: Tokenizer) -> GeneratorObjective:
        """What is trained, as it is before the first step; the run's seed generates what is new."""
        torch.manual_seed(self.settings.seed)
        objective = self.build(tokenizer)
        transformer = objective.transformer
        if self.lora is not None:
            if (text_encoder := objective.parts().get("text_encoder")) is not None:
                text_encoder.requires_grad_(False).eval()
            add_lora(transformer, self.lora, seed=self.settings.seed)
        if self.recomputed:
            recompute(transformer.recomputable_blocks())
        return objective

    def pipeline(self, objective: GeneratorObjective, **parts: Any) -> Pipeline:
        """The parts of the objective as a pipeline that samples as this run says.

        While weights are split over processes it saves only what leaves the tokens as they are, and compiles nothing:
        FSDP2 gathers the weights of a block when it is called, which partial steps and compiled blocks do not do.

        Args:
            objective: what is trained.
            parts: that stand in the place of its own.
        """
        speed = self.sampling.speed
        if is_split(objective):
            speed = replace(speed, cache=None, compile=False, guidance_every=1)
        preset = replace(self.sampling, resolution=(self.data_config.size, self.data_config.size), speed=speed)
        return pipeline_of(preset, **{**objective.parts(), **parts})

    def record(self) -> dict[str, Any]:
        """What the checkpoints say about the run."""
        facts = record(self.name, self.size, self.data_config, self.options, tokenizer=self.tokenizer)
        # left out where it says nothing, so that runs started before it existed resume
        more: dict[str, Any] = {"flips": True} if self.flips else {}
        more |= {"buckets": True} if self.cell else {}
        more |= {"init": str(self.init_from.folder)} if self.init_from else {}
        more |= {"lora": asdict(self.lora)} if self.lora else {}
        more |= {"text_encoder": encoder_hash(self.text_encoder)} if self.text_encoder else {}
        return {**facts, **more}

    def with_tokenizer(self, folder: Path) -> TrainGenerator:
        """The same run on the tokenizer in `folder`."""
        return replace(self, tokenizer=str(folder))

    def _due(self, every: int, step: int) -> bool:
        return step % every == 0 or step == self.settings.steps

    def _leave(self, objective: GeneratorObjective, out: Path) -> None:
        """Write what the run leaves, with averaged weights."""
        load_ema(out, objective)
        if self.lora is not None:
            save_adapter(objective.transformer, self.lora, out / "adapter")
            merge_lora(objective.transformer)
        text_encoder = objective.parts().get("text_encoder")
        # states that were read from files in training say in which folder their encoder lies
        parts = {}
        if isinstance(text_encoder, CachedText):
            parts["text_encoder"] = open_text_encoder(text_encoder.encoder)
        self.pipeline(objective, **parts).save(out / "pipeline")

    def _open(self) -> Data:
        """The images; what does not suit the run is refused before anything is computed."""
        dataset = self.data_config.open()
        if self.needs_scores:
            check_has_scores(dataset)
        if self.balance is not None:
            if self.cell:
                raise UserError("images in buckets are not balanced: leave out --balance or --buckets")
            class_balanced(dataset, self.balance)
        return dataset

    def _bucketed(self, dataset: Data, tokenizer: Tokenizer) -> Data:
        """The images in the shapes that are trained on, each of at least half a batch of them."""
        if not self.cell:
            return dataset
        minimum = -(-self.settings.batch_size // 2)
        return bucketed(dataset, tokenizer, self.data_config.size, self.cell, flips=self.flips, minimum=minimum)

    def _coded(self, dataset: Data, tokenizer: Tokenizer) -> Data:
        size, spec = self.data_config.size, self.data_config.spec
        ids = coded(dataset, tokenizer, spec=spec, size=size, codes=self.codes, flips=self.flips)
        return ids if self.balance is None else class_balanced(ids, self.balance)
