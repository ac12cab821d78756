"""Replays of official quantisers: lfq (Open-MAGVIT2 and vector-quantize-pytorch) and ibq."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.tokenizers.quantizers import (
    BinarySphericalQuantizer,
    IndexBackpropQuantizer,
    LookupFreeQuantizer,
)
from tests.parity.cases import Case, Replay
from tests.parity.helpers import load_official


def _rows(latent: Tensor) -> Tensor:
    """[B, D, h, w] to rows [B, h w, D]."""
    return latent.flatten(2).transpose(1, 2)


def _magvit(case: Case) -> dict[str, Tensor]:
    """Open-MAGVIT2's convention for ids, logarithms and the two weights of the entropy."""
    config = case.config
    quantizer = LookupFreeQuantizer(
        config["dim"], commitment=1.0, entropy=0.0, normalise=False, little_endian=True, logarithm="shift"
    )
    latent = case.inputs["latent"].clone().requires_grad_()
    codes = quantizer(latent)
    entropies = quantizer.entropies(_rows(latent))
    sharp, diversity = config["sample_minimization_weight"], config["batch_maximization_weight"]
    entropy = sharp * entropies.sample - diversity * entropies.codebook
    commitment = codes.losses["commitment"]
    loss = 0.1 * entropy + 0.25 * commitment + (codes.latents * case.inputs["cotangent"]).mean()
    (gradient,) = torch.autograd.grad(loss, latent)
    assert codes.indices is not None
    return {
        "per_sample_entropy": entropies.sample,
        "codebook_entropy": entropies.codebook,
        "entropy_loss": entropy,
        "commitment": commitment,
        "quant": codes.latents,
        "indices": codes.indices.flatten(1),
        "decoded": quantizer.lookup(case.inputs["codes"].unflatten(1, latent.shape[2:])),
        "loss": loss,
        "grad_latent": gradient,
    }


def _library(case: Case, spherical: bool) -> dict[str, Tensor]:
    """Our quantisers in the convention of vector-quantize-pytorch."""
    options = case.config["library"]
    pull = options["commitment_loss_weight"]
    shared = {
        "commitment": pull,
        "entropy": options["entropy_loss_weight"],
        "diversity": options["diversity_gamma"],
        "inverse_temperature": options["inv_temperature"],
    }
    bits = case.config["dim"]
    quantizer = (
        BinarySphericalQuantizer(bits, **shared)
        if spherical
        else LookupFreeQuantizer(bits, normalise=False, **shared)
    )
    latent = case.inputs["latent"].clone().requires_grad_()
    codes = quantizer(latent)
    auxiliary = torch.stack(list(codes.losses.values())).sum()
    loss = auxiliary + (codes.latents * case.inputs["cotangent"]).mean()
    (gradient,) = torch.autograd.grad(loss, latent)
    before = F.normalize(latent, dim=1) if spherical else latent
    entropies = quantizer.entropies(_rows(before))
    assert codes.indices is not None
    return {
        "per_sample_entropy": entropies.sample,
        "codebook_entropy": entropies.codebook,
        # The library leaves the term out, and reports 0, where its weight is 0.
        "commitment": F.mse_loss(before, codes.latents) * (pull > 0),
        "aux_loss": auxiliary,
        "quant": codes.latents,
        "indices": codes.indices.flatten(1),
        "loss": loss,
        "grad_latent": gradient,
        "decoded": quantizer.lookup(case.inputs["codes"].unflatten(1, latent.shape[2:])),
    }


def replay_lfq(case: Case) -> dict[str, Tensor]:
    """Lookup-free quantisation in the conventions of Open-MAGVIT2 and of the library."""
    magvit = _magvit(case)
    # Factorised: the first channels are the low bits, so both parts come from the one id.
    low = 2 ** case.config["factorized_bits"][0]
    split = {"indices_pre": magvit["indices"] % low, "indices_post": magvit["indices"] // low}
    parts = {
        "magvit": magvit,
        "factorised": {**{name: value for name, value in magvit.items() if name != "indices"}, **split},
        "library": _library(case, spherical=False),
        "library_bsq": _library(case, spherical=True),
    }
    return {
        f"{part}/{name}": value.detach() for part, values in parts.items() for name, value in values.items()
    }


def replay_ibq(case: Case) -> dict[str, Tensor]:
    """Index backpropagation, with its entropy term where the case has one."""
    options = case.config["args"]
    sharp = options.get("sample_minimization_weight", 1.0)
    diversity = options.get("batch_maximization_weight", 1.0)
    quantizer = IndexBackpropQuantizer(
        options["e_dim"],
        options["n_e"],
        commitment=options.get("beta", 0.25),
        entropy=0.05 if options.get("use_entropy_loss", False) else 0.0,
        sharpness=sharp,
        diversity=diversity,
        temperature=options.get("entropy_temperature", 0.01),
        cosine=options.get("cosine_similarity", False),
    )
    load_official(quantizer, case.weights)
    latent = case.inputs["latent"].clone().requires_grad_()
    codes = quantizer(latent)
    loss = sum(codes.losses.values(), (codes.latents * case.inputs["cotangent"]).mean())
    weight = quantizer.embedding.weight
    gradient, codebook_gradient = torch.autograd.grad(loss, (latent, weight))
    rows = _rows(F.normalize(latent, dim=1) if quantizer.cosine else latent)
    entropies = quantizer.entropies(rows)
    assert codes.indices is not None
    return {
        "quant": codes.latents,
        "indices": codes.indices.flatten(1),
        "quant_loss": codes.losses["codebook"],
        "per_sample_entropy": entropies.sample,
        "codebook_entropy": entropies.codebook,
        "entropy_loss": sharp * entropies.sample - diversity * entropies.codebook,
        "loss": loss,
        "grad_latent": gradient,
        "grad/embedding.weight": codebook_gradient,
    }


REPLAYS: dict[str, Replay] = {"lfq": replay_lfq, "ibq": replay_ibq}
