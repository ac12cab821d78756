"""How faithful a tokenizer is, and how much of its codebook it uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.evaluation.descriptor import check_images
from mimgen.evaluation.fid import fid

if TYPE_CHECKING:  # at run time this would import diffusers
    from mimgen.tokenizers import Tokenizer

# Identical images have infinite PSNR, which no mean survives; 8-bit images that differ in one
# value of one 64 px image reach 89 dB, so the cap is out of the way.
PSNR_CAP = 100.0
_COMPARED = 64  # images compared at a time, since ssim keeps several copies in float64
_WINDOW = 11
_SIGMA = 1.5


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, -10 log10(MSE), capped at 100.

    Args:
        images: [n, 3, H, W] in [0, 1].
        references: the same shape.

    Returns:
        [n] float64.
    """
    return _decibel(squared_errors(images, references))


def squared_errors(images: Tensor, references: Tensor) -> Tensor:
    """Mean squared error of each image, [n, 3, H, W] twice -> [n] float64."""
    _check_pair(images, references)
    return (images.double() - references.double()).square().flatten(1).mean(1)


def ssim(images: Tensor, references: Tensor) -> Tensor:
    """Structural similarity of each image (Wang et al. 2004), mean over channels and positions.

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
        raise UserError(f"ssim: images of {list(images.shape[-2:])} px are smaller than its 11 px window")
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


@dataclass(frozen=True)
class Reconstructed:
    """What came back from a tokenizer.

    Attributes:
        images: [n, 3, H, W] float32 in [0, 1], on the CPU.
        indices: [n, h, w] ids; None for a continuous tokenizer.
    """

    images: Tensor
    indices: Tensor | None


def evaluate_reconstruction(
    tokenizer: Tokenizer,
    images: Tensor,
    *,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    extractor: str | None = None,
    weights: str | None = None,
) -> dict[str, Any]:
    """Encode and decode images and compare them with the originals.

    Decoded pixels are clamped to [0, 1] and compared as floats, without rounding to 8 bits.

    Args:
        tokenizer: encode and decode as of the Tokenizer contract; put into eval mode and back.
        images: [n, 3, H, W] in [0, 1].
        batch_size: images at a time.
        device: where the tokenizer lives; that of its parameters by default.
        extractor: also measure the rFID with these features; see `fid`.
        weights: of the extractor.

    Returns:
        JSON: psnr_mean_of_images (mean of the per-image PSNR), psnr_of_mean_mse (PSNR of the
        mean squared error over all pixels; never above the former), ssim, l1, codebook (null for
        a continuous tokenizer), n and size; with an extractor rfid, as `fid` returns it.
    """
    made = reconstruct(tokenizer, images, batch_size=batch_size, device=device)
    return compare_reconstruction(made, images, tokenizer.codebook_size, extractor, weights)


@torch.no_grad()
def reconstruct(
    tokenizer: Tokenizer, images: Tensor, *, batch_size: int = 64, device: torch.device | str | None = None
) -> Reconstructed:
    """Images [n, 3, H, W] through the tokenizer and back; arguments as of `evaluate_reconstruction`.

    Raises:
        UserError: images that do not divide into tokens, or a tokenizer that decodes NaN.
    """
    check_images(images, "reconstruction")
    training = bool(getattr(tokenizer, "training", False))
    _set_training(tokenizer, False)
    target_device = device or _device(tokenizer)
    try:
        parts = [_there_and_back(tokenizer, part.to(target_device)) for part in images.split(batch_size)]
    finally:
        _set_training(tokenizer, training)
    indices = [part.indices for part in parts if part.indices is not None]
    return Reconstructed(torch.cat([part.images for part in parts]), torch.cat(indices) if indices else None)


def compare_reconstruction(
    made: Reconstructed,
    images: Tensor,
    codebook_size: int,
    extractor: str | None = None,
    weights: str | None = None,
) -> dict[str, Any]:
    """Score what `reconstruct` returned; see `evaluate_reconstruction`."""
    images = images.float().cpu()
    pairs = list(zip(made.images.split(_COMPARED), images.split(_COMPARED), strict=True))
    errors = torch.cat([squared_errors(ours, true) for ours, true in pairs])
    similarity = torch.cat([ssim(ours, true) for ours, true in pairs])
    scores: dict[str, Any] = {
        "psnr_mean_of_images": float(_decibel(errors).mean()),
        "psnr_of_mean_mse": float(_decibel(errors.mean())),
        "ssim": float(similarity.mean()),
        "l1": float(torch.cat([(ours - true).abs().double().flatten(1).mean(1) for ours, true in pairs]).mean()),
        "codebook": _usage(made.indices, codebook_size),
        "n": len(images),
        "size": images.shape[-1],
        "resize": "none",
    }
    return scores if extractor is None else {**scores, "rfid": fid(made.images, images, extractor, weights)}


def _there_and_back(tokenizer: Tokenizer, images: Tensor) -> Reconstructed:
    codes = tokenizer.encode(images)
    made = tokenizer.decode(codes).float().cpu()
    if not bool(torch.isfinite(made).all()):
        raise UserError("reconstruction: the tokenizer decoded NaN or infinite pixels; it has diverged")
    return Reconstructed(made.clamp(0, 1), None if codes.indices is None else codes.indices.cpu())


def _usage(indices: Tensor | None, codebook_size: int) -> dict[str, Any] | None:
    return None if indices is None or not codebook_size else codebook_usage(indices, codebook_size)


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
            f"images {list(images.shape)} and references {list(references.shape)} "
            "must both be [n, 3, H, W] and equal"
        )
    if not (images.numel() and images.is_floating_point() and references.is_floating_point()):
        raise UserError("images to compare must be float in [0, 1], and at least one")
