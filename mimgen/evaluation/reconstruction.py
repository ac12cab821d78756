"""How faithful a tokenizer is, and how much of its codebook it uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.evaluation.descriptor import check_pictures

if TYPE_CHECKING:  # at run time this would import diffusers
    from mimgen.tokenizers import Tokenizer

# Identical pictures have infinite PSNR, which no mean survives; 8-bit pictures that differ in one
# value of one 64 px picture reach 89 dB, so the cap is out of the way.
PSNR_CAP = 100.0
_WINDOW = 11
_SIGMA = 1.5


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture in dB, -10 log10(MSE), capped at 100.

    Args:
        images: [n, 3, H, W] in [0, 1].
        references: the same shape.

    Returns:
        [n] float64.
    """
    return _decibel(squared_errors(images, references))


def squared_errors(images: Tensor, references: Tensor) -> Tensor:
    """Mean squared error of each picture, [n, 3, H, W] twice -> [n] float64."""
    _check_pair(images, references)
    return (images.double() - references.double()).square().flatten(1).mean(1)


def ssim(images: Tensor, references: Tensor) -> Tensor:
    """Structural similarity of each picture (Wang et al. 2004), mean over channels and positions.

    ((2 mx my + c1)(2 sxy + c2)) / ((mx^2 + my^2 + c1)(sx^2 + sy^2 + c2)) under an 11 x 11
    Gaussian window of sigma 1.5, c1 = 0.01^2, c2 = 0.03^2, where the window fits entirely.

    Args:
        images: [n, 3, H, W] in [0, 1], sides at least 11.
        references: the same shape.

    Returns:
        [n] float64 in [-1, 1].
    """
    _check_pair(images, references)
    if min(images.shape[-2:]) < _WINDOW:
        raise UserError(f"ssim: pictures of {list(images.shape[-2:])} px are smaller than its 11 px window")
    x, y = images.double(), references.double()
    mean_x, mean_y = _smooth(x), _smooth(y)
    variance_x = _smooth(x * x) - mean_x.square()
    variance_y = _smooth(y * y) - mean_y.square()
    covariance = _smooth(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    light = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (light * structure).flatten(1).mean(1)


def codebook_usage(indices: Tensor, codebook_size: int) -> dict[str, Any]:
    """How the codes of a data set spread over the codebook.

    Args:
        indices: int64 of any shape, in [0, codebook_size).
        codebook_size: number of codes K.

    Returns:
        JSON: codebook_size, active and dead (codes seen at least once, never), usage (active / K)
        and perplexity exp(-sum p log p), between 1 and K.
    """
    if indices.numel() == 0:
        raise UserError("codebook usage: there are no codes to count")
    if int(indices.min()) < 0 or int(indices.max()) >= codebook_size:
        low, high = int(indices.min()), int(indices.max())
        raise UserError(f"codebook usage: codes span [{low}, {high}] but codebook_size is {codebook_size}")
    counts = torch.bincount(indices.flatten().cpu(), minlength=codebook_size).double()
    share = counts[counts > 0] / counts.sum()
    return {
        "codebook_size": codebook_size,
        "active": len(share),
        "dead": codebook_size - len(share),
        "usage": len(share) / codebook_size,
        "perplexity": float((-(share * share.log()).sum()).exp()),
        "tokens": int(counts.sum()),
    }


@torch.no_grad()
def evaluate_reconstruction(
    tokenizer: Tokenizer, images: Tensor, *, batch_size: int = 64, device: torch.device | str | None = None
) -> dict[str, Any]:
    """Encode and decode pictures and compare them with the originals.

    Decoded pixels are clamped to [0, 1] and compared as floats, without rounding to 8 bits.

    Args:
        tokenizer: encode and decode as of the Tokenizer contract; put into eval mode and back.
        images: [n, 3, H, W] in [0, 1].
        batch_size: pictures at a time.
        device: where the tokenizer lives; that of its parameters by default.

    Returns:
        JSON: psnr_mean_of_pictures (mean of the per-picture PSNR), psnr_of_mean_mse (PSNR of the
        mean squared error over all pixels; never above the former), ssim, l1, codebook (null for
        a continuous tokenizer), n and size.
    """
    check_pictures(images, "reconstruction")
    training = bool(getattr(tokenizer, "training", False))
    _set_training(tokenizer, False)
    try:
        parts = [_measure(tokenizer, part, device) for part in images.split(batch_size)]
    finally:
        _set_training(tokenizer, training)
    errors = torch.cat([part["mse"] for part in parts])
    indices = [part["indices"] for part in parts if "indices" in part]
    return {
        "psnr_mean_of_pictures": float(_decibel(errors).mean()),
        "psnr_of_mean_mse": float(_decibel(errors.mean())),
        "ssim": _mean(parts, "ssim"),
        "l1": _mean(parts, "l1"),
        "codebook": _usage(indices, tokenizer.codebook_size),
        "n": len(images),
        "size": images.shape[-1],
        "resize": "none",
    }


def _measure(tokenizer: Tokenizer, images: Tensor, device: torch.device | str | None) -> dict[str, Tensor]:
    codes = tokenizer.encode(images.to(device or _device(tokenizer)))
    made = tokenizer.decode(codes).float().cpu()
    if not bool(torch.isfinite(made).all()):
        raise UserError("reconstruction: the tokenizer decoded NaN or infinite pixels; it has diverged")
    made, images = made.clamp(0, 1), images.float().cpu()
    measured = {
        "mse": squared_errors(made, images),
        "ssim": ssim(made, images),
        "l1": (made - images).abs().double().flatten(1).mean(1),
    }
    if codes.indices is not None:
        measured["indices"] = codes.indices.cpu().flatten()
    return measured


def _usage(indices: Sequence[Tensor], codebook_size: int) -> dict[str, Any] | None:
    if not indices or not codebook_size:
        return None
    return codebook_usage(torch.cat(list(indices)), codebook_size)


def _mean(parts: Sequence[dict[str, Tensor]], name: str) -> float:
    return float(torch.cat([part[name] for part in parts]).mean())


def _set_training(tokenizer: Tokenizer, on: bool) -> None:
    if isinstance(tokenizer, torch.nn.Module):
        tokenizer.train(on)


def _device(tokenizer: Tokenizer) -> torch.device:
    if isinstance(tokenizer, torch.nn.Module):
        return next((parameter.device for parameter in tokenizer.parameters()), torch.device("cpu"))
    return torch.device("cpu")


def _decibel(mse: Tensor) -> Tensor:
    return (-10 * mse.clamp(min=1e-30).log10()).clamp(max=PSNR_CAP)


def _smooth(images: Tensor) -> Tensor:
    """Gaussian mean of every position where the window fits: [n, C, H, W] -> [n, C, H-10, W-10]."""
    offsets = torch.arange(_WINDOW, dtype=images.dtype, device=images.device) - _WINDOW // 2
    line = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    line = line / line.sum()
    channels = images.shape[1]
    down = F.conv2d(images, line.view(1, 1, -1, 1).expand(channels, -1, -1, -1), groups=channels)
    return F.conv2d(down, line.view(1, 1, 1, -1).expand(channels, -1, -1, -1), groups=channels)


def _check_pair(images: Tensor, references: Tensor) -> None:
    if images.shape != references.shape or images.dim() != 4:
        raise UserError(
            f"pictures {list(images.shape)} and references {list(references.shape)} "
            "must both be [n, 3, H, W] and equal"
        )
    if not (images.numel() and images.is_floating_point() and references.is_floating_point()):
        raise UserError("pictures to compare must be float in [0, 1], and at least one")
