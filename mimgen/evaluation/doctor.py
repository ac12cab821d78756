"""Does a tokenizer fit some images? Asked before a generator is trained on its codes.

What a tokenizer loses, no generator brings back.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.evaluation.reconstruction import Reconstructed, compare_reconstruction, psnr, reconstruct

if TYPE_CHECKING:  # at run time this would import diffusers
    from mimgen.tokenizers import Tokenizer

Verdict = Literal["fits", "usable", "does not fit"]


@dataclass(frozen=True)
class Thresholds:
    """Where the verdicts part. Below 18 dB shapes go, at 22 dB only fine texture does.

    Attributes:
        good: mean PSNR in dB from which a tokenizer fits.
        bad: mean PSNR in dB below which it does not fit; an image below it counts as lost.
        gain: dB by which it must beat painting each token's square in its mean colour, to fit.
        lost: largest share of lost images with which it fits.
        used: share of the codes that could have been used, below which most of the codebook lies idle.
    """

    good: float = 22.0
    bad: float = 18.0
    gain: float = 1.0
    lost: float = 0.05
    used: float = 0.1


@dataclass(frozen=True)
class Examination:
    """What `examine` found.

    Attributes:
        verdict: "fits", "usable" or "does not fit".
        reasons: sentences that name the measured value and its threshold.
        result: JSON of everything measured.
        psnr: [n] dB of each image.
        worst: numbers of the images that come back worst, the worst first.
        made: what came back.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    result: dict[str, Any]
    psnr: Tensor
    worst: tuple[int, ...]
    made: Reconstructed


def examine(
    tokenizer: Tokenizer,
    images: Tensor,
    *,
    extractor: str = "lab-hog",
    weights: str | None = None,
    shown: int = 12,
    thresholds: Thresholds | None = None,
) -> Examination:
    """Send images through a tokenizer and evaluate what comes back.

    Args:
        tokenizer: with or without a codebook.
        images: [n, 3, H, W] in [0, 1], at least two.
        extractor: features of the rFID; see `fid`.
        weights: of the extractor.
        shown: worst images to name.
        thresholds: where the verdicts part.

    Raises:
        UserError: fewer than two images, or sides that do not divide into tokens.
    """
    if len(images) < 2:
        raise UserError(f"{len(images)} images are too few to evaluate a tokenizer by: give at least 2, better 500")
    limits = thresholds or Thresholds()
    made = reconstruct(tokenizer, images)
    scores = compare_reconstruction(made, images, tokenizer.codebook_size, extractor, weights)
    each = psnr(made.images, images.float())
    tokens = made.indices[0].numel() if made.indices is not None else images[0, 0].numel() // tokenizer.downsample**2
    plain = psnr(_flat(images.float(), tokens), images.float())
    result = {
        **scores,
        "psnr_of_mean_colours": float(plain.mean()),
        "gain": float((each - plain).mean()),
        "lost": float((each < limits.bad).double().mean()),
        "possible_codes_used": _possible_share(scores["codebook"]),
        "thresholds": asdict(limits),
    }
    verdict, reasons = assess(result, limits)
    worst = tuple(each.argsort()[:shown].tolist())
    return Examination(verdict, reasons, {"verdict": verdict, "reasons": list(reasons), **result}, each, worst, made)


def assess(result: dict[str, Any], limits: Thresholds) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict on measured values, and a sentence for each that speaks against the tokenizer."""
    mean, gain, lost = result["psnr_mean_of_images"], result["gain"], result["lost"]
    reasons = []
    if mean < limits.good:
        limit = limits.bad if mean < limits.bad else limits.good
        reasons.append(f"images come back at {mean:.1f} dB on average, below {limit:g} dB")
    if gain < limits.gain:
        reasons.append(
            f"one flat colour a token would come back {'better' if gain < 0 else 'nearly as well'}: the tokenizer "
            f"gains {gain:+.1f} dB over it, wanted are {limits.gain:+g} dB"
        )
    if lost > limits.lost:
        reasons.append(
            f"{lost:.0%} of the images come back below {limits.bad:g} dB, more than {limits.lost:.0%}: look at them"
        )
    used = result["possible_codes_used"]
    if used is not None and used < limits.used:
        reasons.append(
            f"only {used:.0%} of the codes that these images could use are used, less than {limits.used:.0%}: "
            "a smaller codebook, or one trained on such images, would do as well"
        )
    if mean < limits.bad or (gain < 0 and mean < limits.good):
        return "does not fit", tuple(reasons)
    fits = mean >= limits.good and gain >= limits.gain and lost <= limits.lost
    return ("fits" if fits else "usable"), tuple(reasons)


def _flat(images: Tensor, tokens: int) -> Tensor:
    """[n, 3, H, W] as about `tokens` squares of their mean colour: the least that as many tokens should beat."""
    side = max(1, round(tokens**0.5))
    return F.interpolate(F.adaptive_avg_pool2d(images, side), images.shape[-2:], mode="nearest")


def _possible_share(codebook: dict[str, Any] | None) -> float | None:
    """Codes seen, as a share of those that as many evenly sampled tokens would show."""
    if codebook is None:
        return None
    size, tokens = codebook["codebook_size"], codebook["tokens"]
    return float(codebook["active"] / (size * -math.expm1(-tokens / size)))
