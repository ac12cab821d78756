"""Adversarial terms of tokenizer training.

Logits are maps [B, 1, h, w] of a discriminator; positive means that it takes a patch for real.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.tokenizers.ranks import all_reduce_mean

AdversarialKind = Literal["hinge", "vanilla", "non_saturate"]


def discriminator_loss(kind: AdversarialKind, real: Tensor, fake: Tensor) -> Tensor:
    """What the discriminator minimises, a scalar.

    "hinge": (mean max(0, 1 - real) + mean max(0, 1 + fake)) / 2. "vanilla": sigmoid
    cross-entropy of every logit. "non_saturate": the same after averaging the logits of an image.
    """
    if kind == "hinge":
        return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
    if kind == "non_saturate":
        real, fake = real.flatten(1).mean(1), fake.flatten(1).mean(1)
    return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())


def generator_loss(kind: AdversarialKind, fake: Tensor) -> Tensor:
    """What the generator minimises, a scalar.

    "hinge": -mean fake. "vanilla": mean log(1 + exp(-fake)). "non_saturate": the same after
    averaging the logits of an image.
    """
    if kind == "hinge":
        return -fake.mean()
    if kind == "non_saturate":
        fake = fake.flatten(1).mean(1)
    return F.softplus(-fake).mean()


class LeCam(nn.Module):
    """LeCAM regulariser (arXiv 2104.03310) with its moving averages as a saved buffer.

    Args:
        decay: of the moving averages, which start at 0.
    """

    ema: Tensor

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("ema", torch.zeros(2))

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """mean max(0, real - ema_fake)^2 + mean max(0, ema_real - fake)^2.

        While training the averages (real, fake) take in these logits first, over all processes.
        """
        if self.training:
            means = all_reduce_mean(torch.stack([real.mean(), fake.mean()]).detach().float())
            self.ema.lerp_(means.to(self.ema), 1 - self.decay)
        # The copy keeps the graph valid when a later micro-batch moves the averages.
        ema_real, ema_fake = self.ema.clone()
        return F.relu(real - ema_fake).square().mean() + F.relu(ema_real - fake).square().mean()


def adaptive_weight(
    fidelity: Tensor, adversarial: Tensor, last_layer: Tensor, *, largest: float = 1e4
) -> Tensor:
    """Scale that gives the adversarial term the gradient norm of the fidelity term (VQGAN, equation 7).

    |d fidelity / d last| / (|d adversarial / d last| + 1e-4), clamped to [0, largest]; a scalar
    without gradient, the same on every process.

    Args:
        fidelity: scalar, pixel and perceptual terms.
        adversarial: scalar generator term.
        last_layer: weight of the generator's last layer.
        largest: clamp.
    """
    norms = []
    for loss in (fidelity, adversarial):
        (gradient,) = torch.autograd.grad(loss, last_layer, retain_graph=True)
        # of the mean gradient and not the mean norm, so that the number of processes does not matter
        norms.append(all_reduce_mean(gradient.detach().float()).norm())
    return (norms[0] / (norms[1] + 1e-4)).clamp(0.0, largest)


def entropy_weight(step: int, ratio: float, steps: int = 2000) -> float:
    """Factor 1 + ratio * max(0, 1 - step / steps) on the entropy term early on (Open-MAGVIT2)."""
    return 1.0 + ratio * max(0.0, 1.0 - step / steps)
