"""Replay of the official adversarial loss of a tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.tokenizers.discriminators import PatchDiscriminator
from mimgen.tokenizers.losses import (
    LeCam,
    adaptive_weight,
    discriminator_loss,
    entropy_weight,
    generator_loss,
)
from tests.parity.cases import Case


def _discriminator(weights: Mapping[str, Tensor]) -> PatchDiscriminator:
    """A PatchGAN with the sizes of official weights, loaded strictly."""
    first = weights["main.0.weight"]
    convolutions = sum(name.endswith(".weight") and value.ndim == 4 for name, value in weights.items())
    normed = any(name.endswith("running_mean") for name in weights)
    discriminator = PatchDiscriminator(
        len(first), convolutions - 2, "batch" if normed else "group", in_channels=first.shape[1]
    )
    discriminator.load_state_dict(dict(weights))
    return discriminator.train()


def _gradients(loss: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradient of `loss` for each parameter, 0 where it has no part, named as recorded."""
    if not parameters:
        return {}
    found = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, materialize_grads=True)
    return {f"grad/{name}": gradient for name, gradient in zip(parameters, found, strict=True)}


def replay_vqgan_loss(case: Case) -> dict[str, Tensor]:
    """Generator and discriminator losses around a reconstruction by one 3x3 convolution."""
    options, step = case.config["loss"], case.config["global_step"]
    prefix = "discriminator."
    nets = {name.removeprefix(prefix): w for name, w in case.weights.items() if name.startswith(prefix)}
    discriminator, lecam = _discriminator(nets), LeCam()
    kernel, bias = (case.weights[f"gen.{part}"].clone().requires_grad_() for part in ("weight", "bias"))
    inputs, image = case.inputs, case.inputs["image"]
    reconstruction = F.conv2d(inputs["latent"], kernel, bias, padding=1)

    fidelity = (image - reconstruction).abs().mean()
    adversarial = generator_loss(options.get("gen_adv_loss", "hinge"), discriminator(reconstruction))
    fixed = options.get("gen_loss_weight")
    if fixed is None:
        weight = adaptive_weight(fidelity, adversarial, kernel) * options.get("disc_weight", 1.0)
    else:
        weight = torch.tensor(float(fixed))
    factor = options.get("disc_factor", 1.0) if step >= options["disc_start"] else 0.0
    boost = entropy_weight(
        step, options.get("codebook_enlarge_ratio", 3), options.get("codebook_enlarge_steps", 2000)
    )
    loss = (
        fidelity
        + weight * factor * adversarial
        + options.get("codebook_weight", 1.0) * boost * inputs["entropy_loss"]
        + options.get("commit_weight", 0.25) * inputs["commitment"]
        + options.get("cls_loss_weight", 1.0) * inputs["cls_loss"]
    )

    real, fake = discriminator(image), discriminator(reconstruction.detach())
    penalty = lecam(real, fake)
    real_fake_loss = discriminator_loss(options.get("disc_loss", "hinge"), real, fake)
    discriminator_total = factor * (real_fake_loss + (options.get("lecam_loss_weight") or 0.0) * penalty)
    discriminator_parameters = {
        prefix + name: parameter for name, parameter in discriminator.named_parameters()
    }
    return {
        "reconstruction": reconstruction,
        "d_weight": weight,
        "g_loss": weight * factor * adversarial,
        "generator_loss": loss,
        "lecam": penalty,
        "discriminator_loss": discriminator_total,
        **_gradients(loss, {"gen.weight": kernel, "gen.bias": bias}),
        **_gradients(discriminator_total, discriminator_parameters),
    }


REPLAYS: dict[str, Callable[[Case], dict[str, Tensor]]] = {
    "vqgan_loss": replay_vqgan_loss,
}
