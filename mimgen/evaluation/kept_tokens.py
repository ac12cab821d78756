"""Scores of a MergeVQ at one number of kept tokens, with true and with recovered positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from mimgen.evaluation.tokenizer_scores import LabelledSplit
    from mimgen.tokenizers.mergevq import MergeVQ
    from mimgen.types import Codes

__all__ = ["KeptTokens", "score_kept_tokens"]

BATCH = 32


class KeptTokens:
    """A MergeVQ at a fixed number of kept tokens, with the tokenizer contract.

    Args:
        tokenizer: the model, not copied.
        keep: kept tokens K.
    """

    def __init__(self, tokenizer: MergeVQ, keep: int) -> None:
        self.tokenizer, self.keep = tokenizer, keep
        self.codebook_size, self.downsample = tokenizer.codebook_size, tokenizer.downsample

    def encode(self, images: Tensor) -> Codes:
        """[B, 3, H, W] in [0, 1] to codes on the full grid, with their source."""
        return self.tokenizer.encode(images.to(self.tokenizer.device), self.keep)

    def lookup(self, indices: Tensor) -> Tensor:
        """Ids [B, h, w] to latents [B, D, h, w]."""
        return self.tokenizer.lookup(indices)

    def decode(self, codes: Codes | Tensor) -> Tensor:
        """Codes, latents or ids on the full grid to images in [0, 1]."""
        return self.tokenizer.decode(codes)


@dataclass(frozen=True)
class Recovered:
    """Images from kept codes without their source.

    Attributes:
        made: [n, 3, S, S] in [0, 1].
        agreement: share of positions that are given a token of their own group.
    """

    made: Tensor
    agreement: float


def score_kept_tokens(tokenizer: MergeVQ, data: LabelledSplit, keep: int, seed: int) -> dict[str, Any]:
    """Images, labels, recovery and speed at `keep` tokens, on `val`; the model is in eval mode.

    Returns:
        JSON: keep, psnr, ssim, rfid, usage, perplexity (with the true source), probe_class (class
        token) and probe_tokens (mean of the kept tokens), learned and nearest (psnr, rfid and
        agreement with a source recovered from the codes; learned is null where the model has no
        recovery, both where nothing is merged), encode_images_per_s and decode_images_per_s.
    """
    from mimgen.evaluation.reconstruction import codebook_usage
    from mimgen.evaluation.tokenizer_scores import reconstruction_scores, run_tokenizer

    inner = KeptTokens(tokenizer, keep)
    through = run_tokenizer(inner, data.val, BATCH)
    assert through.made is not None and through.indices is not None, "MergeVQ gives codes and images"
    used = codebook_usage(through.indices, tokenizer.codebook_size)
    merges = keep < through.indices[0].numel()
    return {
        "keep": keep,
        **reconstruction_scores(through.made, data.val),
        **{name: used[name] for name in ("usage", "active", "perplexity")},
        "label": data.label,
        **_probes(tokenizer, data, keep, seed),
        "learned": _recovery(inner, data.val, learned=True) if merges and tokenizer.recovery is not None else None,
        "nearest": _recovery(inner, data.val, learned=False) if merges else None,
        "encode_images_per_s": round(through.encode_rate, 2),
        "decode_images_per_s": round(through.decode_rate or 0.0, 2),
    }


def _probes(tokenizer: MergeVQ, data: LabelledSplit, keep: int, seed: int) -> dict[str, float | None]:
    """Accuracy of linear probes on the class token and on the mean of the kept tokens, from one pass."""
    import torch

    from mimgen.probing import linear_probe
    from mimgen.tokenizers.mergevq import MergeVQEncoder

    names = ("probe_class", "probe_tokens")
    if data.label is None:
        return dict.fromkeys(names)
    encoder = MergeVQEncoder(tokenizer, keep)
    sides = []
    with torch.no_grad():
        for images in (data.train, data.val):
            found = [encoder(part.to(tokenizer.device)) for part in images.split(BATCH)]
            sides.append([torch.cat([tokens.prefix[:, 0] for tokens in found]).cpu(),
                          torch.cat([tokens.patches.mean(1) for tokens in found]).cpu()])  # fmt: skip
    return {
        name: linear_probe(train, data.train_y, val, data.val_y, seed=seed).accuracy
        for name, train, val in zip(names, *sides, strict=True)
    }


def _recovery(inner: KeptTokens, images: Tensor, learned: bool) -> dict[str, Any]:
    """Quality of images decoded from codes whose positions are guessed."""
    from mimgen.evaluation.tokenizer_scores import reconstruction_scores

    found = _recovered(inner, images, learned)
    return {**reconstruction_scores(found.made, images), "agreement": found.agreement}


def _recovered(inner: KeptTokens, images: Tensor, learned: bool) -> Recovered:
    """Decode kept codes with the model's own recovery, or with each code at its place in a square.

    The square is the container in which kept tokens travel: a decoder without the source
    can do no better without learning.
    """
    import torch

    from mimgen.tokenizers.grid_merging import raster
    from mimgen.tokenizers.mergevq import hard_source

    made, right = [], 0.0
    with torch.no_grad():
        for part in images.split(BATCH):
            merged = inner.tokenizer.merge(part.to(inner.tokenizer.device), inner.keep)
            true = merged.source
            if learned:
                predicted_source = hard_source(inner.tokenizer.recover(merged.latents))
            else:
                cells = raster(inner.keep, true.shape[2]).to(true.device)
                predicted_source = (cells == torch.arange(inner.keep, device=true.device)[:, None]).expand_as(true)
            decoded = inner.tokenizer.decode_merged(merged.latents, predicted_source, merged.encoded.grid)
            made.append(decoded.float().cpu())
            right += float((predicted_source & true).any(1).float().mean(1).sum())
    return Recovered(torch.cat(made), right / len(images))
