"""Everything measured of one tokenizer: reconstructions, codes, what a probe reads off them, speed."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mimgen.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from mimgen.probing import Encoder
    from mimgen.tokenizers import ImageQuantizer
    from mimgen.types import Codes

__all__ = [
    "LabelledSplit", "TokenizerOutputs", "open_labelled", "reconstruction_scores", "run_tokenizer", "score_tokenizer",
]  # fmt: skip

BATCH = 32


@dataclass(frozen=True)
class LabelledSplit:
    """Images of two splits and one label of each.

    Attributes:
        train: [n, 3, S, S] in [0, 1], whose features fit the probe.
        val: [m, 3, S, S] in [0, 1], on which everything is measured.
        label: name of the label set; None where the data has none.
        train_y: [n] int64, empty without labels.
        val_y: [m] int64, empty without labels.
    """

    train: Tensor
    val: Tensor
    label: str | None
    train_y: Tensor
    val_y: Tensor


@dataclass(frozen=True)
class TokenizerOutputs:
    """Images through a tokenizer and back.

    Attributes:
        made: [n, 3, S, S] in [0, 1], None of a tokenizer that only codes.
        indices: [n, h, w] ids, None of a continuous one.
        tokens: tokens of an image; of a merging tokenizer those that are kept.
        merged: whether tokens were merged, so that an image needs their positions besides their codes.
        encode_rate: images/s.
        decode_rate: images/s, None without `made`.
    """

    made: Tensor | None
    indices: Tensor | None
    tokens: int
    merged: bool
    encode_rate: float
    decode_rate: float | None


def open_labelled(spec: str, size: int, limit: int | None = None) -> LabelledSplit:
    """The splits train and val of a dataset, with its finest label set (the last one).

    Args:
        spec: the data.
        size: side of the images.
        limit: only so many images of each split, evenly spread.

    Raises:
        UserError: streamed data.
    """
    import torch

    from mimgen.data import Dataset, load_images, open_data

    parts = []
    for split in ("train", "val"):
        dataset = open_data(spec, size=size, split=split)
        if not isinstance(dataset, Dataset):
            raise UserError(f"{spec} is a stream; measuring needs data on disk")
        chosen = range(0, len(dataset), 1 if limit is None else max(1, len(dataset) // limit))[:limit]
        label = next(reversed(dataset.label_names), None)
        ids = [] if label is None else [dataset[index].labels[label] for index in chosen]
        parts.append((load_images(dataset, chosen), torch.tensor(ids, dtype=torch.int64), label))
    (train, train_y, label), (val, val_y, _) = parts
    return LabelledSplit(train, val, label, train_y, val_y)


def run_tokenizer(tokenizer: ImageQuantizer, images: Tensor, batch_size: int = BATCH) -> TokenizerOutputs:
    """Encode and decode `images` [n, 3, S, S] in eval mode, timed after one warm-up batch."""
    import torch

    from mimgen.tokenizers import Tokenizer

    seconds = [0.0, 0.0]
    made: list[Tensor] = []
    found: list[Codes] = []
    decodes = isinstance(tokenizer, Tokenizer)
    device = _device(tokenizer)
    parts = images.split(batch_size)
    with torch.no_grad(), _evaluating(tokenizer):
        for position, part in enumerate([parts[0], *parts]):
            part = part.to(device)
            times = [_now(device)]
            codes = tokenizer.encode(part)
            times.append(_now(device))
            again = tokenizer.decode(codes) if isinstance(tokenizer, Tokenizer) else None
            times.append(_now(device))
            if position:
                seconds = [total + b - a for total, a, b in zip(seconds, times, times[1:])]
                found.append(codes)
                made += [] if again is None else [again.float().cpu()]
    ids = [codes.indices.cpu() for codes in found if codes.indices is not None]
    return TokenizerOutputs(
        torch.cat(made) if decodes else None,
        torch.cat(ids) if ids else None,
        _tokens(found[0]),
        found[0].source is not None,
        len(images) / seconds[0],
        len(images) / seconds[1] if decodes else None,
    )


def reconstruction_scores(made: Tensor, true: Tensor) -> dict[str, Any]:
    """PSNR, SSIM and rFID of reconstructions [n, 3, S, S]; the extractor is named."""
    from mimgen.evaluation.fid import fid
    from mimgen.evaluation.reconstruction import psnr, ssim

    distance = fid(made, true)
    return {
        "psnr": float(psnr(made, true).mean()),
        "ssim": float(ssim(made, true).mean()) if min(true.shape[-2:]) >= 11 else None,
        "rfid": distance["fid"],
        "rfid_extractor": f"{distance['extractor']} ({distance['dimensions']} dimensions)",
        "rfid_full_rank": distance["full_rank"],
    }


def _linear_accuracy(encoder: Encoder, data: LabelledSplit, pooling: str, seed: int) -> float | None:
    """Accuracy on val of a linear probe on frozen features; None where the data has no labels."""
    from mimgen.probing import extract, linear_probe

    if data.label is None:
        return None
    train, val = (extract(encoder, part, pooling=pooling).joined for part in (data.train, data.val))  # type: ignore[arg-type]
    return linear_probe(train, data.train_y, val, data.val_y, seed=seed).accuracy


def score_tokenizer(tokenizer: ImageQuantizer, data: LabelledSplit, seed: int) -> dict[str, Any]:
    """Everything that `mimgen compare tokenizers` reports about one tokenizer, on `val`.

    Returns:
        JSON: tokens, merged, bits (of an image's codes, without the positions of merged ones), psnr, ssim,
        rfid (null where nothing is decoded), usage, active, perplexity (null of a continuous
        tokenizer), probe_mean and probe_grid (accuracy with features averaged over the image and
        over a 4 x 4 grid), encode_images_per_s and decode_images_per_s.
    """
    from mimgen.evaluation.reconstruction import codebook_usage
    from mimgen.tokenizers.encoder import TokenizerEncoder

    result = run_tokenizer(tokenizer, data.val)
    book = tokenizer.codebook_size
    used = codebook_usage(result.indices, book) if result.indices is not None and book else {}
    encoder = TokenizerEncoder(tokenizer)
    nothing = dict.fromkeys(("psnr", "ssim", "rfid"))
    return {
        "tokens": result.tokens,
        "merged": result.merged,
        "codebook_size": book,
        "bits": round(result.tokens * math.log2(book)) if book else None,
        **(nothing if result.made is None else reconstruction_scores(result.made, data.val)),
        **{name: used.get(name) for name in ("usage", "active", "perplexity")},
        "label": data.label,
        "probe_mean": _linear_accuracy(encoder, data, "mean", seed),
        "probe_grid": _linear_accuracy(encoder, data, "grid", seed),
        "encode_images_per_s": round(result.encode_rate, 2),
        "decode_images_per_s": None if result.decode_rate is None else round(result.decode_rate, 2),
    }


def _tokens(codes: Codes) -> int:
    """Tokens of an image: the kept ones of a merging tokenizer, else those of the grid."""
    return int(codes.latents[0, 0].numel()) if codes.source is None else int(codes.source.shape[1])


def _now(device: Any) -> float:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _device(tokenizer: Any) -> Any:
    from mimgen.tokenizers.encoder import TokenizerEncoder

    return TokenizerEncoder(tokenizer).device


class _evaluating:
    """Eval mode for a while, where the tokenizer has modes."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.training = tokenizer, getattr(tokenizer, "training", None)

    def __enter__(self) -> None:
        if self.training is not None:
            self.tokenizer.eval()

    def __exit__(self, *_: Any) -> None:
        if self.training is not None:
            self.tokenizer.train(self.training)
