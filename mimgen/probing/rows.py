"""The work of `mimgen probe`: every probe on every layer, with every seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mimgen.errors import UserError
from mimgen.probing import kinds
from mimgen.probing.data import ProbeData, masks_of, own_masks, probe_data
from mimgen.probing.open import LoadedEncoder, features_of
from mimgen.recipes.compare.rows import numbers

if TYPE_CHECKING:
    from torch import Tensor

    from mimgen.cli.probe import Options
    from mimgen.layers.pooling import ProbeHead
    from mimgen.probing import Pooling

__all__ = ["AttentionExample", "ProbeRow", "layers_of", "measure"]


@dataclass(frozen=True)
class ProbeRow:
    """The outcome of one probe of one layer over all seeds.

    Attributes:
        probe: its name.
        layer: counted from 0; the depth means the output, None the whole encoder.
        few: images per class; None for all of train.
        values: accuracy (segmentation: mean intersection over union) for each seed.
        balanced_accuracy: mean accuracy over classes, averaged over seeds; None for segmentation.
        majority: of the most frequent class.
        validation: accuracy on held-out images of train, averaged over seeds; None where there is none.
        correct: [seeds, m] 1 where a test image is right; None for segmentation.
        details: of the first seed.
    """

    probe: str
    layer: int | None
    few: int | None
    values: tuple[float, ...]
    balanced_accuracy: float | None
    majority: float
    validation: float | None
    correct: Tensor | None
    details: dict[str, Any]

    def name(self, depth: int, several: bool) -> str:
        """ "knn", with the layer where there are several, and the number of images per class."""
        layer = "output" if self.layer == depth else f"layer {self.layer}"
        where = layer if several and self.layer is not None else ""
        return ", ".join(filter(None, (self.probe, where, f"{self.few} a class" if self.few else "")))

    def score(self) -> dict[str, Any]:
        """JSON: mean, low, high (95 %), over (what varied), values and, of images, the bootstrap interval."""
        from mimgen.probing.intervals import bootstrap, over_seeds

        found = over_seeds(self.values).as_dict() if len(self.values) > 1 else {"mean": self.values[0]}
        if self.correct is None:
            return {**found, "values": list(self.values)}
        bootstrapped = bootstrap(self.correct, seed=0)
        if len(self.values) == 1:
            found = bootstrapped.as_dict()
        return {**found, "values": list(self.values), "over_test_images": [bootstrapped.low, bootstrapped.high],
                "balanced_accuracy": self.balanced_accuracy, "majority": self.majority}  # fmt: skip


@dataclass(frozen=True)
class AttentionExample:
    """Where an attentive probe looks: its head, and tokens [n, N, D] of some test images with their grid."""

    probe: str
    head: ProbeHead
    tokens: Tensor
    grid: tuple[int, int]


@dataclass
class _Work:
    """What the probes of one run share; features are fetched when a probe first wants them."""

    options: Options
    loaded: LoadedEncoder
    data: ProbeData
    attention_examples: dict[str, AttentionExample] = field(default_factory=dict)

    def features(self, pooling: Pooling, layers: Sequence[int]) -> list[Any]:
        """Cached features of train and test."""
        return [
            features_of(
                self.loaded, part, data=self.options.data, split=split, layers=layers, pooling=pooling,
                cache=self.options.cache, batch_size=self.options.batch_size, workers=self.options.workers,
            )
            for part, split in ((self.data.train, self.options.train), (self.data.test, self.options.test))
        ]  # fmt: skip


def measure(options: Options, loaded: LoadedEncoder) -> tuple[ProbeData, list[ProbeRow], list[AttentionExample]]:
    """Every probe on every layer asked for, with every seed."""
    names = kinds.check_probes(options.probes)
    if options.limit is not None and options.limit < 5:
        raise UserError(f"--limit {options.limit}: give at least 5")
    data = probe_data(
        options.data, loaded.pixels, label=options.label, splits=(options.train, options.test), limit=options.limit
    )
    work = _Work(options, loaded, data)
    lines = [line for name in names for line in _lines(work, name)]
    return data, lines, list(work.attention_examples.values())


def layers_of(text: str, depth: int) -> tuple[int, ...]:
    """ "last", "all" or numbers as layers, `depth` meaning the output.

    Raises:
        UserError: anything else.
    """
    if text in ("last", ""):
        return (depth,)
    if text == "all":
        return tuple(range(depth + 1))
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UserError(f"--layers {text!r}: give last, all, or numbers such as 0,5,-1 (0 to {depth})") from None


def _lines(work: _Work, name: str) -> Iterator[ProbeRow]:
    seeds = numbers(work.options.seeds, "seeds")
    if name in kinds.IMAGES:
        yield _fine_tuned(work, seeds)
    elif name in kinds.PATCHES:
        yield from _segmented(work, name, seeds)
    else:
        yield from _probed(work, name, seeds)


def _probed(work: _Work, name: str, seeds: Sequence[int]) -> Iterator[ProbeRow]:
    from mimgen.probing.repeats import sample_shots

    pooling: Pooling = work.options.pooling if name in kinds.VECTORS else "tokens"
    train, test = work.features(pooling, layers_of(work.options.layers, work.loaded.encoder.depth))
    for layer, x in train.levels.items():
        points = test.levels[layer]
        for few in (None, *kinds.counts(work.options.few_shot, "few-shot")):
            found = []
            for seed in seeds:
                y = work.data.train_y
                rows = slice(None) if few is None else sample_shots(y, few, seed)
                found.append(
                    kinds.run(name, (x[rows], y[rows]), (points, work.data.test_y), seed=seed, grid=train.grid,
                              few=few is not None)
                )  # fmt: skip
            head = found[0].head
            if head is not None and few is None:
                # stays of the last layer
                work.attention_examples[name] = AttentionExample(name, head, points[:64], train.grid)
            yield _line(name, layer, few, [one.result for one in found])


def _fine_tuned(work: _Work, seeds: Sequence[int]) -> ProbeRow:
    import torch

    from mimgen.probing.finetune import FineTune, fine_tune

    options, encoder = work.options, work.loaded.encoder
    if not isinstance(encoder, torch.nn.Module):
        raise UserError(f"{options.model} has no weights to fine-tune; leave fine-tune out of --probes")
    settings = FineTune(
        epochs=options.epochs, layer_decay=options.layer_decay, mixup=options.mixup,
        label_smoothing=options.label_smoothing, drop_path=options.drop_path,
        pool="prefix" if options.pooling == "prefix" else "mean",
    )  # fmt: skip
    data = work.data
    found = [
        fine_tune(encoder, data.train.images, data.train_y, data.test.images, data.test_y, seed=seed, settings=settings)
        for seed in seeds
    ]
    return _line("fine-tune", None, None, found)


def _segmented(work: _Work, name: str, seeds: Sequence[int]) -> Iterator[ProbeRow]:
    folder, parts = work.options.masks, (work.data.train, work.data.test)
    # masks first: features take longer, and without masks they are for nothing
    masks = [own_masks(part, work.options.data) if folder is None else masks_of(folder, part) for part in parts]
    train, test = work.features("tokens", layers_of(work.options.layers, work.loaded.encoder.depth))
    for layer, x in train.levels.items():
        found = [
            kinds.segment(name, (x, masks[0]), (test.levels[layer], masks[1]), grid=train.grid, seed=seed)
            for seed in seeds[: 1 if name == "segment-linear" else None]  # the linear one samples nothing
        ]
        values = tuple(one.miou for one in found)
        yield ProbeRow(name, layer, None, values, None, found[0].majority, None, None, found[0].as_dict())


def _line(name: str, layer: int | None, few: int | None, results: Sequence[Any]) -> ProbeRow:
    import torch

    validations = [one.validation for one in results if one.validation is not None]
    return ProbeRow(
        probe=name,
        layer=layer,
        few=few,
        values=tuple(one.accuracy for one in results),
        balanced_accuracy=sum(one.balanced_accuracy for one in results) / len(results),
        majority=results[0].majority,
        validation=sum(validations) / len(validations) if validations else None,
        correct=torch.stack([one.correct for one in results]),
        details=results[0].as_dict(),
    )
