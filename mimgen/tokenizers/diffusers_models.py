"""diffusers' own autoencoders behind the tokenizer contract."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.tokenizers.contract import check_ids, check_images, latents_of
from mimgen.types import Codes, SampleRNG

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, VQModel


class _Wrapped(nn.Module):
    """What both kinds share: the range of images, sizes, saving."""

    codebook_size = 0

    def __init__(self, model: VQModel | AutoencoderKL, inner_range: tuple[float, float]) -> None:
        super().__init__()
        low, high = inner_range
        if low >= high:
            raise UserError(f"inner_range {inner_range}: the first number must be below the second")
        self.model = model
        self.low, self.scale = low, high - low
        self.downsample = 2 ** (len(model.config.block_out_channels) - 1)

    @property
    def device(self) -> torch.device:
        """Where the parameters are; diffusers' pipelines ask every part for it."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the parameters."""
        return self.model.dtype

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the last convolution, for the adaptive adversarial weight."""
        return self.model.decoder.conv_out.weight

    def encode(self, images: Tensor) -> Codes:
        """Images [B, 3, H, W] in [0, 1] to codes on a grid of H / downsample by W / downsample."""
        raise NotImplementedError

    def lookup(self, indices: Tensor) -> Tensor:
        """Token ids [B, h, w] to latents [B, D, h, w]."""
        raise NotImplementedError

    def reconstruct(self, latents: Tensor) -> Tensor:
        """Latents [B, D, h, w] to images [B, 3, H, W] before clipping."""
        raise NotImplementedError

    def decode(self, codes: Codes | Tensor) -> Tensor:
        """Codes, latents [B, D, h, w] or ids [B, h, w] to images [B, 3, H, W] clipped to [0, 1]."""
        return self.reconstruct(latents_of(codes, self, int(self.model.config.latent_channels))).clamp(0, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Codes]:
        """Images to (unclipped reconstruction [B, 3, H, W], codes); the training path."""
        codes = self.encode(images)
        return self.reconstruct(codes.latents), codes

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the diffusers model folder; the range of images is not part of it."""
        self.model.save_pretrained(folder)

    def _inner(self, images: Tensor) -> Tensor:
        """[0, 1] to the range of the model, after checking the size."""
        check_images(images, self.downsample)
        return images.to(self.model.dtype) * self.scale + self.low


class DiffusersVQ(_Wrapped):
    """diffusers' `VQModel`, the tokenizer of aMUSEd and Meissonic.

    Args:
        model: the autoencoder.
        inner_range: range of images inside; the releases of aMUSEd and Meissonic take [0, 1].
    """

    def __init__(self, model: VQModel, inner_range: tuple[float, float] = (0.0, 1.0)) -> None:
        super().__init__(model, inner_range)
        self.codebook_size = int(model.config.num_vq_embeddings)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, inner_range: tuple[float, float] = (0.0, 1.0), variant: str | None = None
    ) -> DiffusersVQ:
        """Read a model folder from disk, in float32. Raises `UserError` when it is not one.

        Args:
            folder: as diffusers wrote it.
            inner_range: see the class.
            variant: reads `diffusion_pytorch_model.<variant>.safetensors`.
        """
        from diffusers import VQModel

        return cls(_load(VQModel, folder, variant), inner_range)

    def encode(self, images: Tensor) -> Codes:
        """See the base class; `losses` has diffusers' codebook loss while training."""
        hidden = self.model.encode(self._inner(images)).latents
        with torch.autocast(hidden.device.type, enabled=False):
            latents, loss, (_, _, indices) = self.model.quantize(hidden.float())
        indices = indices.view(len(images), *hidden.shape[2:])  # [B, h, w]
        return Codes(indices, latents.to(hidden.dtype), {"commitment": loss} if self.training else {})

    def lookup(self, indices: Tensor) -> Tensor:
        """Token ids [B, h, w] to latents [B, D, h, w]."""
        check_ids(indices, self.codebook_size)
        return self.model.quantize.get_codebook_entry(indices.flatten(), (*indices.shape, -1))

    def reconstruct(self, latents: Tensor) -> Tensor:
        """Latents to images before clipping."""
        # Not model.decode: what it does with latents depends on `lookup_from_codebook`.
        latents = latents.to(self.model.dtype)
        condition = latents if self.model.config.norm_type == "spatial" else None
        inner = self.model.decoder(self.model.post_quant_conv(latents), condition)
        return (inner.float() - self.low) / self.scale


class DiffusersKL(_Wrapped):
    """diffusers' `AutoencoderKL`, a continuous tokenizer: `indices` is None, `codebook_size` 0.

    Args:
        model: the autoencoder.
        inner_range: range of images inside; Stable Diffusion takes [-1, 1].
        kl: weight of the divergence from a standard normal, per latent number.

    Latents are scaled by the model's `scaling_factor`, as diffusion models want them.
    """

    def __init__(
        self, model: AutoencoderKL, inner_range: tuple[float, float] = (-1.0, 1.0), kl: float = 1e-6
    ) -> None:
        super().__init__(model, inner_range)
        self.kl = kl

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, inner_range: tuple[float, float] = (-1.0, 1.0)
    ) -> DiffusersKL:
        """Read a model folder from disk. Raises `UserError` when it is not one."""
        from diffusers import AutoencoderKL

        return cls(_load(AutoencoderKL, folder), inner_range)

    def encode(self, images: Tensor, rng: SampleRNG | None = None) -> Codes:
        """See the base class; `losses` has `kl` while training.

        Args:
            images: [B, 3, H, W] in [0, 1].
            rng: noise for a sample of the posterior; without it the latents are its mode.
        """
        posterior = self.model.encode(self._inner(images)).latent_dist
        latents = posterior.mode()
        if rng is not None:
            latents = latents + posterior.std * rng.normal(*latents.shape[1:]).to(latents)
        # per latent number
        losses = {"kl": self.kl * posterior.kl().sum() / latents.numel()} if self.training else {}
        return Codes(None, latents * self.model.config.scaling_factor, losses)

    def lookup(self, indices: Tensor) -> Tensor:
        """Always a `UserError`: there is no codebook."""
        raise UserError("DiffusersKL has no token ids: decode its latents [B, D, h, w] instead")

    def reconstruct(self, latents: Tensor) -> Tensor:
        """Latents to images before clipping."""
        latents = latents.to(self.model.dtype) / self.model.config.scaling_factor
        return (self.model.decode(latents).sample.float() - self.low) / self.scale


def _load(kind: Any, folder: str | Path, variant: str | None = None) -> Any:
    """Read a diffusers model from a folder on disk, never from the network."""
    name = kind.__name__
    if not (Path(folder) / "config.json").is_file():
        raise UserError(
            f"{folder} is no {name} folder (config.json is missing): give one saved by save_pretrained"
        )
    found = kind.load_config(folder, local_files_only=True).get("_class_name", name)
    if found != name:
        raise UserError(f"{folder} holds a {found}, not a {name}: use the matching tokenizer")
    try:
        return kind.from_pretrained(folder, local_files_only=True, variant=variant).float()
    except OSError as error:
        raise UserError(f"{folder} holds no weights of {name}: {str(error).splitlines()[0]}") from error
