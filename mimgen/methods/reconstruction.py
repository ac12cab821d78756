"""Training of a tokenizer: reconstruct the image, please a discriminator, use the codebook."""

from __future__ import annotations

from typing import TypedDict, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mimgen.tokenizers.discriminators import Discriminator
from mimgen.tokenizers.losses import (
    AdversarialKind,
    LeCam,
    adaptive_weight,
    discriminator_loss,
    entropy_weight,
    generator_loss,
)
from mimgen.tokenizers.usage import CodeUsage
from mimgen.training import Trainable
from mimgen.types import Batch, Codes, Losses, SampleRNG


class Fidelity(TypedDict, total=False):
    """Keyword arguments of `Reconstruction`, for objectives that hand them on; what they mean is said there."""

    l1: float
    l2: float
    perceptual: nn.Module | None
    perceptual_weight: float
    adversarial_weight: float
    adversarial_start: int
    discriminator_start: int
    adaptive: bool
    adversarial: AdversarialKind
    discrimination: AdversarialKind
    lecam: float
    entropy_boost: float
    usage_window: int


class Reconstruction(Trainable):
    """Objective: the tokenizer gives the image back (VQGAN, equations 4 to 7).

    One backward pass of the sum trains both networks: the generator's adversarial term sees the
    discriminator with detached parameters, the discriminator's term sees detached images.

    Args:
        tokenizer: `tokenizer(images)` gives (unclipped images [B, 3, H, W], `Codes`); its
            `last_layer` is the weight at which the adaptive weight is measured.
        discriminator: images in [-1, 1] to logits; without it there is no adversarial part. A
            `Discriminator` chooses by its `view` what of the images it is shown.
        l1: weight of the mean absolute error of pixels in [-1, 1].
        l2: weight of the mean squared error of pixels in [-1, 1].
        perceptual: a distance of images in [-1, 1], [B] each, from `open_perceptual`.
        perceptual_weight: its weight.
        adversarial_weight: weight of the generator's adversarial term.
        adversarial_start: optimiser steps before that term is used.
        discriminator_start: optimiser steps before the discriminator learns. Before
            `adversarial_start` it learns without feeding back.
        adaptive: scale the adversarial term to the gradient norm of the fidelity terms.
        adversarial: kind of the generator's term.
        discrimination: kind of the discriminator's term.
        lecam: weight of the LeCAM regulariser, 0 for none.
        entropy_boost: the quantiser's entropy term starts at 1 + this and falls to 1 over 2000
            steps, an advice for large codebooks.
        usage_window: batches over which perplexity and active codes are counted.
    """

    def __init__(
        self,
        tokenizer: nn.Module,
        discriminator: nn.Module | None = None,
        *,
        l1: float = 1.0,
        l2: float = 0.0,
        perceptual: nn.Module | None = None,
        perceptual_weight: float = 1.0,
        adversarial_weight: float = 0.1,
        adversarial_start: int = 0,
        discriminator_start: int = 0,
        adaptive: bool = True,
        adversarial: AdversarialKind = "hinge",
        discrimination: AdversarialKind = "hinge",
        lecam: float = 0.0,
        entropy_boost: float = 0.0,
        usage_window: int = 100,
    ) -> None:
        super().__init__()
        if not (l1 or l2 or perceptual is not None):
            raise ValueError("Reconstruction needs a fidelity term: give l1, l2 or perceptual")
        self.tokenizer = tokenizer
        self.discriminator = discriminator
        self.perceptual = perceptual
        self.weights = {"l1": l1, "l2": l2, "perceptual": perceptual_weight, "lecam": lecam}
        self.adversarial_weight = adversarial_weight
        self.adversarial_start = adversarial_start
        self.discriminator_start = discriminator_start
        self.adaptive = adaptive
        self.adversarial: AdversarialKind = adversarial
        self.discrimination: AdversarialKind = discrimination
        self.entropy_boost = entropy_boost
        self.lecam = LeCam()
        codebook_size = cast(int, tokenizer.codebook_size)
        self.usage = CodeUsage(codebook_size, usage_window) if codebook_size else None

    def clip_groups(self) -> list[list[nn.Parameter]]:
        """Parameters whose gradients are clipped together: the tokenizer's, the discriminator's."""
        networks = [self.tokenizer] + ([self.discriminator] if self.discriminator is not None else [])
        return [[p for p in network.parameters() if p.requires_grad] for network in networks]

    def forward(self, batch: Batch) -> Losses:
        """Losses of one batch.

        Metrics: `psnr` in dB; `perplexity`, `active_codes` and `dead_codes` over the last batches;
        `adaptive_weight` where there is one.
        """
        # a tokenizer with a posterior samples from it, one stream per image
        noise = (batch.rng,) if getattr(self.tokenizer, "stochastic", False) else ()
        return self.score(batch, *self.tokenizer(batch.images, *noise))

    def score(self, batch: Batch, images: Tensor, codes: Codes) -> Losses:
        """Losses of a pass that is done: unclipped images [B, 3, H, W] in the [0, 1] scale and their codes."""
        real, fake = 2 * batch.images.float() - 1, 2 * images.float() - 1
        terms = self._fidelity(real, fake)
        fidelity = Losses(terms, self.weights).total
        terms.update(codes.losses)
        weights: dict[str, float | Tensor] = {**self.weights}
        weights["entropy"] = entropy_weight(batch.step - 1, self.entropy_boost)
        metrics = self._metrics(real, fake.detach(), codes)
        # Without gradients there is nothing to weigh and nobody learns from being evaluated.
        if self.discriminator is not None and torch.is_grad_enabled():
            adversarial_terms = self._adversarial_losses(self.discriminator, real, fake, fidelity, batch)
            terms.update(adversarial_terms.terms)
            weights.update(adversarial_terms.weights)
            metrics.update(adversarial_terms.metrics)
        return Losses(terms, weights, metrics)

    def _fidelity(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Pixel and perceptual terms of images [B, 3, H, W] in [-1, 1]."""
        terms = {}
        if self.weights["l1"]:
            terms["l1"] = (real - fake).abs().mean()
        if self.weights["l2"]:
            terms["l2"] = (real - fake).square().mean()
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual(real, fake).mean()
        return terms

    def _adversarial_losses(
        self, discriminator: nn.Module, real: Tensor, fake: Tensor, fidelity: Tensor, batch: Batch
    ) -> Losses:
        """Terms of generator and discriminator; `real` and `fake` are [B, 3, H, W] in [-1, 1]."""
        done, rng = batch.step - 1, batch.rng
        terms: dict[str, Tensor] = {}
        weights: dict[str, float | Tensor] = {}
        metrics: dict[str, Tensor] = {}
        if done >= self.adversarial_start:
            shown = _view(discriminator, fake, rng)
            logits = functional_call(discriminator, _detached(discriminator), (shown,)).float()
            terms["adversarial"] = generator_loss(self.adversarial, logits)
            scale = torch.ones_like(fidelity.detach())
            if self.adaptive:
                last = cast(Tensor, self.tokenizer.last_layer)
                scale = adaptive_weight(fidelity, terms["adversarial"], last)
            weights["adversarial"] = self.adversarial_weight * scale
            metrics["adaptive_weight"] = scale
        if done >= self.discriminator_start:
            logits_real = discriminator(_view(discriminator, real, rng)).float()
            logits_fake = discriminator(_view(discriminator, fake.detach(), rng)).float()
            terms["discriminator"] = discriminator_loss(self.discrimination, logits_real, logits_fake)
            if self.weights["lecam"]:
                terms["lecam"] = self.lecam(logits_real, logits_fake)
        return Losses(terms, weights, metrics)

    @torch.no_grad()
    def _metrics(self, real: Tensor, fake: Tensor, codes: Codes) -> dict[str, Tensor]:
        """Quality of images in [-1, 1] and use of the codebook."""
        error = ((real - fake.clamp(-1, 1)) / 2).square().flatten(1).mean(1)
        metrics = {"psnr": -10 * error.clamp(min=1e-10).log10().mean()}
        if self.usage is not None and codes.indices is not None:
            if self.training:
                self.usage.update(codes.indices)
            metrics.update(self.usage.metrics())
        return metrics


def _view(discriminator: nn.Module, images: Tensor, rng: SampleRNG) -> Tensor:
    """What of the images [B, 3, H, W] the discriminator is shown."""
    return discriminator.view(images, rng) if isinstance(discriminator, Discriminator) else images


def _detached(module: nn.Module) -> dict[str, Tensor]:
    """The module's state cut off: gradients do not reach it, and running statistics stay."""
    state: dict[str, Tensor] = {name: value.detach() for name, value in module.named_parameters()}
    return state | {name: value.clone() for name, value in module.named_buffers()}
