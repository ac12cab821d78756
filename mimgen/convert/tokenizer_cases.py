"""Replays of the recorded cases lfq, vqgan_loss and discriminator_patchgan."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.convert.cases import Case
from mimgen.tokenizers.discriminators import PatchDiscriminator
from mimgen.tokenizers.entropy import code_entropies
from mimgen.tokenizers.losses import (
    LeCam,
    adaptive_weight,
    discriminator_loss,
    enlargement,
    generator_loss,
)
from mimgen.tokenizers.quantizers import LookupFreeQuantizer


def _little_endian(codes: Tensor, bits: int) -> Tensor:
    """Token ids [...] to signs [..., bits]; channel j is bit j, as in Open-MAGVIT2."""
    return (codes[..., None] >> torch.arange(bits)) % 2 * 2.0 - 1.0


def _magvit(case: Case) -> dict[str, Tensor]:
    """Open-MAGVIT2's convention for ids and logarithms."""
    config, bits = case.config, case.config["dim"]
    latent = case.inputs["latent"].clone().requires_grad_()
    quant = latent + (torch.where(latent > 0, 1.0, -1.0) - latent).detach()
    every = _little_endian(torch.arange(2**bits), bits)
    rows = latent.permute(0, 2, 3, 1).reshape(-1, bits)
    entropies = code_entropies(rows, every, logarithm="shift")
    sharp, spread = config["sample_minimization_weight"], config["batch_maximization_weight"]
    entropy = sharp * entropies.sample - spread * entropies.codebook
    commitment = F.mse_loss(latent, quant.detach())
    loss = 0.1 * entropy + 0.25 * commitment + (quant * case.inputs["cotangent"]).mean()
    (gradient,) = torch.autograd.grad(loss, latent)
    return {
        "per_sample_entropy": entropies.sample,
        "codebook_entropy": entropies.codebook,
        "entropy_loss": entropy,
        "commitment": commitment,
        "quant": quant,
        "loss": loss,
        "grad_latent": gradient,
    }


def _library(case: Case, spherical: bool) -> dict[str, Tensor]:
    """Our quantiser in the convention of vector-quantize-pytorch."""
    options = case.config["library"]
    weight, pull = options["entropy_loss_weight"], options["commitment_loss_weight"]
    quantizer = LookupFreeQuantizer(
        case.config["dim"],
        commitment=pull,
        entropy=weight,
        diversity=options["diversity_gamma"],
        inverse_temperature=options["inv_temperature"],
        normalise=False,
        spherical=spherical,
    )
    latent = case.inputs["latent"].clone().requires_grad_()
    codes = quantizer(latent)
    auxiliary = codes.losses["commitment"] + codes.losses["entropy"]
    loss = auxiliary + (codes.latents * case.inputs["cotangent"]).mean()
    (gradient,) = torch.autograd.grad(loss, latent)
    rows = F.normalize(latent, dim=1) if spherical else latent
    entropies = quantizer.entropies(rows.flatten(2).transpose(1, 2))
    indices = case.inputs["codes"].unflatten(1, latent.shape[2:])
    return {
        "per_sample_entropy": entropies.sample,
        "codebook_entropy": entropies.codebook,
        # The library leaves the term out, and reports 0, where its weight is 0.
        "commitment": F.mse_loss(rows, codes.latents) * (pull > 0),
        "aux_loss": auxiliary,
        "quant": codes.latents,
        "indices": codes.indices.flatten(1),
        "loss": loss,
        "grad_latent": gradient,
        "decoded": quantizer.lookup(indices),
    }


def replay_lfq(case: Case) -> dict[str, Tensor]:
    """Lookup-free quantisation in the conventions of Open-MAGVIT2 and of the library."""
    latent, ids, bits = case.inputs["latent"], case.inputs["codes"], case.config["dim"]
    magvit = _magvit(case)
    powers = 2 ** torch.arange(bits)
    indices = ((latent > 0).flatten(2) * powers[:, None]).sum(1)
    decoded = _little_endian(ids, bits).transpose(1, 2).unflatten(2, latent.shape[2:])
    # Factorised: the first channels are the low bits, so both parts come from the one id.
    low = 2 ** case.config["factorized_bits"][0]
    split = {"indices_pre": indices % low, "indices_post": indices // low, "decoded": decoded}
    parts = {
        "magvit": {**magvit, "indices": indices, "decoded": decoded},
        "factorised": {**magvit, **split},
        "library": _library(case, spherical=False),
        "library_bsq": _library(case, spherical=True),
    }
    return {
        f"{part}/{name}": value.detach() for part, values in parts.items() for name, value in values.items()
    }


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


def replay_discriminator_patchgan(case: Case) -> dict[str, Tensor]:
    """Logits and every adversarial term of a PatchGAN."""
    discriminator = _discriminator(case.weights)
    with torch.no_grad():
        judged = discriminator.eval()(case.inputs["real"])
    discriminator.train()
    real, fake = discriminator(case.inputs["real"]), discriminator(case.inputs["fake"])
    lecam = LeCam()
    lecam.ema.copy_(case.inputs["ema"])
    penalty, hinge = lecam(real, fake), discriminator_loss("hinge", real, fake)
    loss = hinge + 0.05 * penalty
    outputs = {
        "eval_logits": judged,
        "logits_real": real,
        "logits_fake": fake,
        "hinge_d": hinge,
        "vanilla_d": discriminator_loss("vanilla", real, fake),
        "hinge_g": generator_loss("hinge", fake),
        "non_saturating_g": generator_loss("non_saturate", fake),
        "lecam": penalty,
        "lecam_ema": lecam.ema,
        "d_loss": loss,
        **_gradients(loss, dict(discriminator.named_parameters())),
    }
    return {name: value.detach() for name, value in outputs.items()}


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
    boost = enlargement(
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
    judged = discriminator_loss(options.get("disc_loss", "hinge"), real, fake)
    judge_loss = factor * (judged + (options.get("lecam_loss_weight") or 0.0) * penalty)
    judge = {prefix + name: parameter for name, parameter in discriminator.named_parameters()}
    outputs = {
        "reconstruction": reconstruction,
        "d_weight": weight,
        "g_loss": weight * factor * adversarial,
        "generator_loss": loss,
        "lecam": penalty,
        "discriminator_loss": judge_loss,
        **_gradients(loss, {"gen.weight": kernel, "gen.bias": bias}),
        **_gradients(judge_loss, judge),
    }
    return {name: value.detach() for name, value in outputs.items()}


REPLAYS: dict[str, Callable[[Case], dict[str, Tensor]]] = {
    "lfq": replay_lfq,
    "vqgan_loss": replay_vqgan_loss,
    "discriminator_patchgan": replay_discriminator_patchgan,
}
