"""Training a generator on a tokenizer's ids."""

from __future__ import annotations

import json
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
from mimgen.generators.meissonic.objective import MaskedTokens
from mimgen.layers.recompute import recompute
from mimgen.ops.launch import first_process
from mimgen.pipelines import Preset, TextToImage
from mimgen.pipelines.parts import token_grid
from mimgen.recipes.generation_fid import FidWatch
from mimgen.recipes.generator_data import Data, bucketed, check_scored, coded
from mimgen.recipes.pictures import Pictures, first, loader, rarer_shown_more, record
from mimgen.recipes.start import Start, open_text_encoder
from mimgen.recipes.tokenizers import DiscreteTokenizer, load_tokenizer
from mimgen.training import Result, Settings, fit, load_ema
from mimgen.training.checkpoint import newest
from mimgen.training.lora import Lora, add_lora, merge_lora, save_adapter
from mimgen.training.shard import gathered, is_split

Watch = Callable[[TextToImage, int], None]
TEXT = "text_encoder."  # in front of its weights' names in a checkpoint


@dataclass(frozen=True)
class TrainGenerator:
    """Train a generator on a tokenizer's ids; leaves `<out>/pipeline`, which `mimgen generate` loads.

    With adapters, they are left in `<out>/adapter`, and added to the weights of the pipeline.

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
        start: the pipeline whose weights `build` takes; None for fresh ones.
        lora: adapters are trained in the place of the weights, and the text encoder is not; None trains all.
        recomputed: gradient checkpointing: blocks keep their inputs only.
        cell: tokens that the generator takes together along a side where pictures of other shapes than squares
            are trained on, in buckets of equal token count; 0 crops every picture to a square.
        scored: the data must tell preference scores.
        tokenizer_size: size of the tokenizer that is trained where none is given; None for this size's name.
        text_encoder: folder of the text encoder that `build` freezes; None where it is trained along.
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
    start: Start | None = None
    lora: Lora | None = None
    recomputed: bool = False
    cell: int = 0
    scored: bool = False
    tokenizer_size: str | None = None
    text_encoder: Path | None = None

    def run(self, out: Path, watch: Watch | None = None) -> Result:
        """Train or go on training in the run folder `out`; returns the loop's result.

        Args:
            out: the run folder.
            watch: called with the pipeline under averaged weights and the step whenever samples are logged.

        Raises:
            UserError: no tokenizer, one that does not divide the pictures, cached codes of something else, data
                without the scores or shapes that are asked for, an FID that cannot be measured, or a run in `out` that
                was begun otherwise.
        """
        if self.tokenizer is None:
            raise UserError(f"{self.name} needs a tokenizer; train one (mimgen train vqgan) and pass --tokenizer")
        tokenizer = load_tokenizer(self.tokenizer)
        token_grid(tokenizer, self.pictures.size, self.pictures.size)
        squares = self._open()
        dataset = self._bucketed(squares, tokenizer)
        prompts = [sample.caption for sample in first(squares)]
        # squares are drawn, whatever shapes are trained on, and so squares are what they are measured against
        measure = self.fid.start(squares, out) if self.fid is not None and self.fid.every else None

        def images(objective: nn.Module, step: int) -> dict[str, Tensor]:
            pipeline = self.pipeline(cast(MaskedTokens, objective))
            if measure is not None and self._due(measure.watch.every, step):
                measure(pipeline, step)
            if not self._due(self.settings.sample_every, step):
                return {}
            if watch is not None:
                watch(pipeline, step)
            return {"samples": pipeline(prompts).images}

        def whole(objective: nn.Module, step: int) -> dict[str, Tensor]:
            with gathered(objective):
                return images(objective, step)

        objective = self.objective(tokenizer)
        told = self._told(objective, out)
        ids = self._coded(dataset, tokenizer)
        settings = self.settings
        if measure is not None:  # the loop asks for pictures whenever grids or the FID are due
            settings = replace(settings, sample_every=math.gcd(settings.sample_every, measure.watch.every))
        result = fit(objective, loader(ids, settings), settings, out, images=whole, record=told)
        if first_process():
            # weights that are split over processes cannot be written by one of them
            self._leave(self.objective(tokenizer) if is_split(objective) else objective, out)
        return result

    def objective(self, tokenizer: DiscreteTokenizer) -> MaskedTokens:
        """What is trained, as it is before the first step; the run's seed draws what is new."""
        torch.manual_seed(self.settings.seed)
        objective = self.build(tokenizer)
        transformer = objective.transformer
        if self.lora is not None:
            objective.text_encoder.requires_grad_(False).eval()
            add_lora(transformer, self.lora, seed=self.settings.seed)
        if self.recomputed:
            recompute([*transformer.transformer_blocks, *transformer.single_transformer_blocks])
        return objective

    def pipeline(self, objective: MaskedTokens) -> TextToImage:
        """The parts of the objective as a pipeline that samples as this run says.

        While weights are split over processes it saves only what leaves the tokens as they are, and compiles nothing:
        FSDP2 gathers the weights of a block when it is called, which partial steps and compiled blocks do not do.
        """
        speed = self.sampling.speed
        if is_split(objective):
            speed = replace(speed, cache=None, compile=False, guidance_every=1)
        return TextToImage(
            objective.transformer,
            objective.tokenizer,
            objective.text_encoder,
            replace(self.sampling, resolution=(self.pictures.size, self.pictures.size), speed=speed),
        )

    def record(self) -> dict[str, Any]:
        """What the checkpoints say about the run."""
        facts = record(self.name, self.size, self.pictures, self.options, tokenizer=self.tokenizer)
        # left out where it says nothing, so that runs begun before it existed go on
        more: dict[str, Any] = {"flips": True} if self.flips else {}
        more |= {"buckets": True} if self.cell else {}
        more |= {"init": str(self.start.folder)} if self.start else {}
        more |= {"lora": asdict(self.lora)} if self.lora else {}
        more |= {"text_encoder": encoder_hash(self.text_encoder)} if self.text_encoder else {}
        return {**facts, **more}

    def with_tokenizer(self, folder: Path) -> TrainGenerator:
        """The same run on the tokenizer in `folder`."""
        return replace(self, tokenizer=str(folder))

    def _told(self, objective: MaskedTokens, out: Path) -> dict[str, Any]:
        """`record`, without the text encoder where the run in `out` was begun before it was recorded.

        Raises:
            UserError: that run has another text encoder, or cached text states where this one has none or the reverse.
        """
        record, begun = self.record(), _begun(out)
        if begun is None:
            return record
        now = record.get("text_encoder")
        if now != begun.encoder and (begun.encoder is not None or begun.trained):
            raise UserError(
                f"{out} was begun with another text encoder ({begun.encoder or 'trained along'}, now "
                f"{now or 'trained along'}): pass --clip and --init as it was begun with, or choose another --out"
            )
        if isinstance(objective.text_encoder, CachedText) == begun.holds:
            how, fix = ("without", "leave it out") if begun.holds else ("with", "pass states of the same text encoder")
            raise UserError(
                f"{out} was begun {how} --text-states, and a run goes on as it was begun, since its checkpoints hold "
                f"the text encoder or do not: {fix}, or choose another --out"
            )
        if begun.encoder is None:
            record.pop("text_encoder", None)
        return record

    def _due(self, every: int, step: int) -> bool:
        return step % every == 0 or step == self.settings.steps

    def _leave(self, objective: MaskedTokens, out: Path) -> None:
        """Write what the run leaves, with averaged weights."""
        load_ema(out, objective)
        if self.lora is not None:
            save_adapter(objective.transformer, self.lora, out / "adapter")
            merge_lora(objective.transformer)
        if isinstance(objective.text_encoder, CachedText):
            objective.text_encoder = open_text_encoder(objective.text_encoder.encoder)
        self.pipeline(objective).save(out / "pipeline")

    def _open(self) -> Data:
        """The pictures; what does not suit the run is refused before anything is computed."""
        dataset = self.pictures.open()
        if self.scored:
            check_scored(dataset)
        if self.balance is not None:
            if self.cell:
                raise UserError("pictures in buckets are not balanced: leave out --balance or --buckets")
            rarer_shown_more(dataset, self.balance)
        return dataset

    def _bucketed(self, dataset: Data, tokenizer: DiscreteTokenizer) -> Data:
        """The pictures in the shapes that are trained on, each of at least half a batch of them."""
        if not self.cell:
            return dataset
        least = -(-self.settings.batch_size // 2)
        return bucketed(dataset, tokenizer, self.pictures.size, self.cell, flips=self.flips, least=least)

    def _coded(self, dataset: Data, tokenizer: DiscreteTokenizer) -> Data:
        size, spec = self.pictures.size, self.pictures.spec
        ids = coded(dataset, tokenizer, spec=spec, size=size, codes=self.codes, flips=self.flips)
        return ids if self.balance is None else rarer_shown_more(ids, self.balance)


@dataclass(frozen=True)
class _Begun:
    """What the newest checkpoint of a run says of its text encoder.

    Attributes:
        encoder: hash of the frozen one; None where it was trained, or not recorded yet.
        holds: its weights are there, as they are where no cached text states are read.
        trained: it was trained along.
    """

    encoder: str | None
    holds: bool
    trained: bool


def _begun(out: Path) -> _Begun | None:
    """None without a checkpoint, or with a damaged one, of which the loop says what to do."""
    from safetensors import SafetensorError

    folder = newest(out)
    if folder is None:
        return None
    try:
        record = json.loads((folder / "state.json").read_text("utf-8"))["identity"]["record"]
        model, moments = (_names(folder / f"{part}.safetensors") for part in ("model", "optimizer"))
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    holds, trained = (any(name.startswith(TEXT) for name in names) for names in (model, moments))
    return _Begun(record.get("text_encoder"), holds, trained)


def _names(file: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(file, "pt") as tensors:
        return list(tensors.keys())
