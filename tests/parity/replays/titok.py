"""Replays of TiTok."""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.tokenizers.titok import TiTok, TiTokProxy
from mimgen.tokenizers.titok.adapter import arguments
from tests.parity.cases import Case, Replay
from tests.parity.helpers import gradients, load_official

SIZE = re.compile(r"(\w+) = width (\d+), (\d+) layers, (\d+) heads")


def _model(case: Case) -> TiTok | TiTokProxy:
    """The tokenizer with the weights of the case, in training mode."""
    # the recorded models are patched to be small; `call` says how many heads each size has
    heads = {name: int(number) for name, _, _, number in SIZE.findall(case.metadata.get("call", ""))}
    options = arguments(case.config["titok"], case.weights, heads)
    model = TiTokProxy(**options) if "classes" in options else TiTok(**options)
    load_official(model, case.weights)
    return model.train()


def _vae(case: Case, model: TiTok | TiTokProxy) -> dict[str, Tensor]:
    """A continuous tokenizer."""
    image, hidden = case.inputs["image"], model.hidden(case.inputs["image"])
    posterior = model.quantize.posterior(hidden)
    codes = model.quantize(hidden, case.inputs["noise"])
    decoded = model.decoder(codes.latents)
    return {
        "latent": hidden,
        "mean": posterior.mean,
        "std": posterior.std,
        "sample": codes.latents,
        "kl": posterior.kl(),
        "decoded": decoded,
        "loss": F.mse_loss(decoded, image) + 0.001 * posterior.kl().mean(),
    }


def _vq(case: Case, model: TiTok | TiTokProxy) -> dict[str, Tensor]:
    """A tokenizer with a codebook, whatever it decodes to."""
    image, hidden = case.inputs["image"], model.hidden(case.inputs["image"])
    codes = model.quantize(hidden)
    decoded = model.decoder(codes.latents)
    if isinstance(model, TiTokProxy):
        targets = case.inputs["codes"].view(len(image), *decoded.shape[2:])
        proxy = F.cross_entropy(decoded, targets)
    else:
        proxy = F.mse_loss(decoded, image)
    quantizer = codes.losses["codebook"] + codes.losses["commitment"]
    return {
        "latent": hidden,
        "quant": codes.latents,
        "indices": codes.indices,
        "codebook_loss": codes.losses["codebook"],
        "commitment_loss": codes.losses["commitment"],
        "quantizer_loss": quantizer,
        "decoded": decoded,
        "decoded_from_tokens": model.decoder(model.lookup(codes.indices)),
        "proxy_loss": proxy,
        "loss": proxy + quantizer,
    }


def replay_titok(case: Case) -> dict[str, Tensor]:
    """Encoder, quantiser and decoder with gradients."""
    model = _model(case)
    outputs = _vq(case, model) if model.codebook_size else _vae(case, model)
    outputs.update(gradients(outputs["loss"], model, case.config.get("grads", [])))
    return {name: torch.as_tensor(value).detach() for name, value in outputs.items()}


REPLAYS: dict[str, Replay] = {"titok": replay_titok}
