"""Replays of A2MIM: its head alone, and one training step of a ResNet with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mimgen.decoders.mae import LinearDecoder
from mimgen.encoders.resnet import ResNetEncoder, TokenKind
from mimgen.errors import UserError
from mimgen.methods.a2mim.adapter import ADAPTER, NECK
from mimgen.methods.a2mim.objective import A2MIM
from mimgen.methods.a2mim.target import Criterion, Fill, FrequencyDistance
from mimgen.pretrained import load_strictly
from mimgen.types import Losses, Mask
from tests.parity.cases import Case, Replay
from tests.parity.helpers import feature_map, gradients

TOKENS: dict[str, TokenKind] = {
    "learnable": "learned",
    "mean": "batch_mean",
    "instance_mean": "image_mean",
    "zero": "zero",
    "randn": "random",
}
FILLS: dict[str, Fill] = {"target": "true", "prediction": "predicted", "mean": "mean", "mixed": "mixed"}
DISTANCES: dict[str, Literal["absolute", "squared"]] = {"l1_loss": "absolute", "mse_loss": "squared"}


def head_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """What `A2MIM` is predicted of the official head's arguments."""
    loss = config.get("loss", {})
    mode = loss.get("mode", "l1_loss")
    plain = mode.removeprefix("focal_")
    if plain not in DISTANCES:
        raise UserError(f"the loss {mode!r} is not one of {', '.join(DISTANCES)}, with or without focal_")
    criterion = Criterion(
        DISTANCES[plain],
        focal=mode != plain,
        sharpness=loss.get("alpha", 0.2),
        power=loss.get("gamma", 1.0),
        activation=loss.get("activate", "sigmoid"),
        residual=bool(loss.get("residual", False)),
    )
    frequency = FrequencyDistance(
        bool(config.get("fft_focal", False)),
        FILLS[config.get("fft_unmask_replace") or "target"],
        config.get("fft_unmask_weight", 0.0),
        bool(config.get("fft_reweight", False)),
    )
    return {
        "criterion": criterion,
        "frequency": frequency,
        "frequency_weight": config.get("fft_weight", 0.0),
        "visible_weight": config.get("unmask_weight", 0.0),
    }


class _Image(nn.Module):
    """Stands for an encoder where only a recorded reconstruction is evaluated; images are normalised already."""

    def __init__(self, patch: int, channels: int) -> None:
        super().__init__()
        self.patch = self.mask_patch = patch
        self.mean, self.std = torch.zeros(channels, 1, 1), torch.ones(channels, 1, 1)


def replay_a2mim_loss(case: Case) -> dict[str, Tensor]:
    """The loss of a reconstruction and its gradient."""
    true, masked = case.inputs["x"], case.inputs["mask"]
    reconstructed = case.inputs["x_rec"].clone().requires_grad_(True)
    patch = true.shape[-1] // masked.shape[-1]
    stand_in: Any = _Image(patch, true.shape[1])
    decoder = LinearDecoder(1, patch, patch)
    objective = A2MIM(stand_in, decoder, **head_arguments(case.config))
    loss = _total(
        objective.compute_losses(true, reconstructed, Mask(masked.flatten(1).bool())),
        case.config,
        true.shape[1],
    )
    (gradient,) = torch.autograd.grad(loss, reconstructed)
    return {"loss": loss.detach()[None], "grad/x_rec": gradient}


def _total(losses: Losses, head: Mapping[str, Any], channels: int) -> Tensor:
    """The weighted sum as the official head makes it.

    Its criterion has a weight of its own, which the focal spectrum does not know, and its channels are predicted.
    """
    weight = float(head.get("loss", {}).get("loss_weight", 1.0))
    total = weight * losses.terms["spatial"] * channels / head.get("encoder_in_channels", 3)
    if "frequency" not in losses.terms:
        return total
    share = losses.weights["frequency"] * (1.0 if head.get("fft_focal") else weight)
    return total + share * losses.terms["frequency"]


def encoder_of(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> ResNetEncoder:
    """The recorded backbone, without its weights."""
    channels = weights["backbone.conv1.weight"].shape[1]
    return ResNetEncoder(
        config["depth"],
        config.get("stem_channels", 64),
        config.get("base_channels", 64),
        tuple(config.get("strides", (1, 2, 2, 2))),
        config.get("mask_layer", 0),
        TOKENS[config.get("mask_token", "learnable")],
        bool(config.get("replace", False)),
        bool(config.get("detach", False)),
        float(config.get("mask_init", 0.0)),
        channels,
        (0.0,) * channels,
        (1.0,) * channels,
    )


def replay_a2mim(case: Case) -> dict[str, Tensor]:
    """Features, reconstruction, loss, gradients and running statistics of one step."""
    encoder = encoder_of(case.config, case.weights)
    channels = len(encoder.mean)
    decoder = LinearDecoder(case.weights[f"{NECK}.weight"].shape[1], encoder.patch, encoder.patch, channels)
    head = case.config.get("head", {})
    objective = A2MIM(encoder, decoder, **head_arguments(head)).train()
    load_strictly(objective, _named(case.weights, objective), "the case")
    mask = Mask(case.inputs["mask"].flatten(1).bool())
    # one forward pass alone: each moves the running statistics
    tokens = encoder(case.inputs["img"], mask)
    reconstructed = decoder.images(tokens)
    loss = _total(objective.compute_losses(case.inputs["img_mim"], reconstructed, mask), head, channels)
    official = [name.removeprefix("grad/") for name in case.outputs if name.startswith("grad/")]
    ours = {name: str(ADAPTER.our_key(name)) for name in official}
    found = gradients(loss, objective, list(ours.values()))
    buffers = dict(objective.named_buffers())
    outputs = {
        "latent": feature_map(tokens.patches, tokens.grid),
        "rec": reconstructed,
        "loss": loss,
        "mask_token_after": encoder.mask_token,
        **{f"grad/{name}": found[f"grad/{mine}"] for name, mine in ours.items()},
    }
    for name in case.outputs:
        if name.startswith("buffer_after/"):
            outputs[name] = buffers[str(ADAPTER.our_key(name.removeprefix("buffer_after/")))]
    return outputs


def _named(weights: Mapping[str, Tensor], objective: A2MIM) -> dict[str, Tensor]:
    """The recorded weights by our names; counters are recorded as [1], and tokens that are computed may be absent."""
    named = {str(ADAPTER.our_key(key)): value for key, value in weights.items()}
    own = objective.state_dict()
    kept = {"encoder.mask_token": own["encoder.mask_token"], **named}
    return {
        key: value.reshape(()) if key.endswith("num_batches_tracked") else value
        for key, value in kept.items()
    }


REPLAYS: dict[str, Replay] = {"a2mim": replay_a2mim, "a2mim_loss": replay_a2mim_loss}
