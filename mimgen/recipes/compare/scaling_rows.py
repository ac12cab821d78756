"""One cell of the data-scaling study: pretrain on a part of the data, and see what came of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mimgen.errors import UserError
from mimgen.recipes.compare.rows import Row

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mimgen.data import Dataset
    from mimgen.methods.mim import MIM

__all__ = ["Cell", "Method", "Protocol", "cell_row"]

Method = Literal["simmim", "mae"]
_POINTS = 8  # of the curves of losses
_SEED = 0  # of subsets and validation masks, which are the same for all cells


@dataclass(frozen=True)
class Protocol:
    """Everything in which two cells must agree for their losses and accuracies to be compared.

    Attributes:
        method: "simmim" (mask token, raw pixels, absolute error) or "mae" (masked patches left out, pixels
            normalised by patch, squared error).
        data: what is pretrained on; its split "val" is held out.
        pixels: side of the images.
        patch: side of a patch in pixels.
        unit: side in patches of what is masked together.
        ratio: share that is masked.
        depth: blocks of every encoder.
        batch: images per step.
        base_lr: learning rate for 256 images.
        masks: fixed masks of each validation image.
        limit: validation images, and as many training images for the training loss.
        labelled: labelled images of train for probing and fine-tuning, the same for all cells.
        epochs: of fine-tuning; 0 leaves it out.
    """

    method: Method = "simmim"
    data: str = "emoji"
    pixels: int = 32
    patch: int = 4
    unit: int = 2
    ratio: float = 0.6
    depth: int = 4
    batch: int = 32
    base_lr: float = 8e-3
    masks: int = 4
    limit: int = 400
    labelled: int = 1000
    epochs: int = 10


@dataclass(frozen=True)
class Cell:
    """One run: `images` of the data (0 for all), an encoder of `width`, `steps` of training, `seed`."""

    images: int
    width: int
    steps: int
    seed: int

    @property
    def name(self) -> str:
        """Of its row and its folder."""
        return f"{self.images or 'all'}-{self.width}-{self.steps}-seed{self.seed}"


@dataclass(frozen=True)
class _Images:
    """Images [n, 3, S, S] in [0, 1] with their keys and labels [n]."""

    images: Tensor
    keys: list[str]
    labels: Tensor


def cell_row(protocol: Protocol, cell: Cell, folder: Path) -> Row:
    """Pretrain in `folder`, or resume there, and measure.

    Returns:
        JSON: the cell, protocol, subset_size, duplicates (training images left out because val holds their
        copy), parameters, train_loss and val_loss (fixed masks, no augmentation), curve (both losses along the
        way), label, probe and finetune (accuracies on val, null without labels), seconds.
    """
    from mimgen.data import Loader
    from mimgen.data.subset import nested_subset, without
    from mimgen.training import Settings, fit

    train, held_out = (_open(protocol, split) for split in ("train", "val"))
    pool = without(train, held_out)
    subset = nested_subset(pool, cell.images, _SEED)
    objective = _objective(protocol, cell)
    settings = Settings(
        steps=cell.steps, batch_size=protocol.batch, base_lr=protocol.base_lr, warmup=max(1, cell.steps // 10),
        betas=(0.9, 0.95), clip=5.0, ema=0.0, precision="fp32", seed=cell.seed, log_every=max(1, cell.steps // 50),
        save_every=max(1, cell.steps // 4), sample_every=max(1, cell.steps // _POINTS), keep=1, tracker="none",
    )  # fmt: skip
    seen, unseen = _read(nested_subset(subset, min(protocol.limit, len(subset)), _SEED)), _read(held_out, protocol)
    watch = _watch(protocol, seen, unseen, folder / "validation.jsonl")
    start = time.monotonic()
    result = fit(objective, Loader(subset, protocol.batch, cell.seed), settings, folder, images=watch,
                 record={**asdict(protocol), **asdict(cell)})  # fmt: skip
    if result.interrupted:
        raise KeyboardInterrupt
    watch(objective, cell.steps)
    curve = _curve(folder / "validation.jsonl")
    return {
        **asdict(cell),
        "protocol": asdict(protocol),
        "subset_size": len(subset),
        "duplicates": len(train) - len(pool),
        "parameters": sum(part.numel() for part in objective.parameters() if part.requires_grad),
        "train_loss": curve[-1]["train"],
        "val_loss": curve[-1]["val"],
        "curve": curve,
        **_accuracies(objective.encoder, protocol, pool, unseen, cell.seed),
        "seconds": round(time.monotonic() - start, 1),
    }


def _open(protocol: Protocol, split: str) -> Dataset:
    from mimgen.data import Dataset, open_data

    dataset = open_data(protocol.data, size=protocol.pixels, split=split)
    if not isinstance(dataset, Dataset):
        raise UserError(f"{protocol.data} is a stream; the study needs data on disk")
    return dataset


def _read(dataset: Dataset, protocol: Protocol | None = None) -> _Images:
    """All images, or as many as the protocol validates on, evenly spread; labels of the finest set, else -1."""
    import torch

    from mimgen.data import load_images

    limit = None if protocol is None else protocol.limit
    chosen = range(0, len(dataset), 1 if limit is None else max(1, len(dataset) // limit))[:limit]
    label = next(reversed(dataset.label_names), None)
    samples = [dataset[index] for index in chosen]
    labels = torch.tensor([-1 if label is None else sample.labels[label] for sample in samples])
    return _Images(load_images(dataset, chosen), [sample.key for sample in samples], labels)


def _objective(protocol: Protocol, cell: Cell) -> MIM:
    """The composition with fresh weights sampled by the cell's seed."""
    import torch

    from mimgen.decoders.mae import LinearDecoder, MaeDecoder
    from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD, VitEncoder, mae_vit
    from mimgen.masking.random import Random
    from mimgen.methods.mim import MIM
    from mimgen.targets import PixelTarget

    torch.manual_seed(cell.seed)
    sizes: dict[str, Any] = {
        "image_size": protocol.pixels,
        "patch": protocol.patch,
        "width": cell.width,
        "depth": protocol.depth,
        "heads": max(1, cell.width // 16),
    }
    masking = Random(protocol.ratio, protocol.unit)
    if protocol.method == "mae":
        inner = max(16, cell.width // 2 // 16 * 16)
        decoder = MaeDecoder(protocol.pixels, protocol.patch, cell.width, inner, 1, inner // 16)
        target = PixelTarget(protocol.patch, mean=IMAGENET_MEAN, std=IMAGENET_STD, last=True)
        return MIM(mae_vit(**sizes), decoder, target, masking)
    raw = PixelTarget(protocol.patch, normalise=False, mean=IMAGENET_MEAN, std=IMAGENET_STD, distance="absolute")
    linear = LinearDecoder(cell.width, protocol.patch, protocol.patch)
    return MIM(VitEncoder(**sizes, mask_token="replace"), linear, raw, masking)


def _watch(
    protocol: Protocol, seen: _Images, unseen: _Images, path: Path
) -> Callable[[nn.Module, int], dict[str, Tensor]]:
    """What `fit` calls now and then: adds a line with both losses to the file; gives no images."""
    from mimgen.evaluation.masked import masked_loss

    def watch(objective: Any, step: int) -> dict[str, Tensor]:
        losses = {
            name: masked_loss(objective, part.images, part.keys, masks=protocol.masks, seed=_SEED)
            for name, part in (("train", seen), ("val", unseen))
        }
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **losses}) + "\n")
        return {}

    return watch


def _curve(path: Path) -> list[Row]:
    """The lines of the file by step; of a step that was repeated after an interruption the last one."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for _, line in sorted({line["step"]: line for line in lines}.items())]


def _accuracies(
    encoder: nn.Module, protocol: Protocol, pool: Dataset, unseen: _Images, seed: int
) -> Row:
    """Linear probe on the mean of patch tokens, and fine-tuning, on the same labelled images."""
    from mimgen.data.subset import nested_subset
    from mimgen.probing import extract, linear_probe
    from mimgen.probing.finetune import FineTune, fine_tune

    label = next(reversed(pool.label_names), None)
    if label is None:
        return {"label": None, "probe": None, "finetune": None}
    # another sample than that of the pretraining subsets, so that no cell is favoured
    labelled = _read(nested_subset(pool, min(protocol.labelled, len(pool)), _SEED + 1))
    y, test_y = labelled.labels, unseen.labels
    train_x, test_x = (extract(encoder, part.images).joined for part in (labelled, unseen))  # type: ignore[arg-type]
    found = linear_probe(train_x, y, test_x, test_y, seed=seed)
    tuned = None
    if protocol.epochs:
        settings = FineTune(epochs=protocol.epochs, warmup_epochs=min(2.0, protocol.epochs / 4))
        tuned = fine_tune(encoder, labelled.images, y, unseen.images, test_y, seed=seed, settings=settings).accuracy
    return {"label": label, "probe": found.accuracy, "finetune": tuned, "majority": found.majority,
            "label_n": found.n, "val_n": found.test_n}  # fmt: skip
