"""Replays of the official discriminators and of the adversarial terms on their logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.pretrained import load_strictly
from mimgen.tokenizers.discriminators import (
    BlurDiscriminator,
    DinoDiscriminator,
    MaskBitDiscriminator,
    PatchDiscriminator,
    StyleBlock,
)
from mimgen.tokenizers.losses import LeCam, discriminator_loss, generator_loss
from tests.parity.cases import Case, Replay
from tests.parity.helpers import load_official

# official argument -> ours
PATCH = {"input_nc": "in_channels", "ndf": "channels", "n_layers": "layers"}
BLUR = {
    "num_channels": "in_channels",
    "hidden_channels": "channels",
    "num_stages": "stages",
    "blur_resample": "blur",
    "blur_kernel_size": "blur_size",
}
VIT = {"embed_dim": "width", "num_heads": "heads", "patch_size": "patch", "mlp_ratio": "mlp_ratio"}
DINO = {"ks": "kernel", "depth": "depth", "key_depths": "readouts"}


def _arguments(official: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Official arguments under our names; a `UserError` names those that we have no counterpart of."""
    if unknown := sorted(official.keys() - names.keys()):
        raise UserError(
            f"arguments {', '.join(unknown)} of this case are unknown; known are {', '.join(names)}"
        )
    values = {names[name]: value for name, value in official.items()}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _gradients(loss: Tensor, module: nn.Module) -> dict[str, Tensor]:
    """Gradient of `loss` for each trained parameter of `module`, named as recorded."""
    parameters = dict(module.named_parameters())
    found = torch.autograd.grad(loss, list(parameters.values()))
    return {f"grad/{name}": gradient for name, gradient in zip(parameters, found, strict=True)}


def _logits_and_gradients(case: Case, discriminator: nn.Module) -> dict[str, Tensor]:
    """Logits and every adversarial term of a discriminator with the case's weights."""
    load_official(discriminator, case.weights)
    with torch.no_grad():
        logits = discriminator.eval()(case.inputs["real"])
    discriminator.train()
    real, fake = discriminator(case.inputs["real"]), discriminator(case.inputs["fake"])
    lecam = LeCam()
    lecam.ema.copy_(case.inputs["ema"])
    penalty, hinge = lecam(real, fake), discriminator_loss("hinge", real, fake)
    loss = hinge + 0.05 * penalty
    return {
        "eval_logits": logits,
        "logits_real": real,
        "logits_fake": fake,
        "hinge_d": hinge,
        "vanilla_d": discriminator_loss("vanilla", real, fake),
        "hinge_g": generator_loss("hinge", fake),
        "non_saturating_g": generator_loss("non_saturate", fake),
        "lecam": penalty,
        "lecam_ema": lecam.ema,
        "d_loss": loss,
        **_gradients(loss, discriminator),
    }


def _replay(kind: Callable[..., nn.Module], names: Mapping[str, str]) -> Replay:
    """The replay of a discriminator that is built from `config["args"]`."""

    def run(case: Case) -> dict[str, Tensor]:
        return _logits_and_gradients(case, kind(**_arguments(case.config["args"], names)))

    return run


def replay_stylegan_block(case: Case) -> dict[str, Tensor]:
    """A chain of StyleGAN's residual blocks."""
    blocks = nn.Sequential(*(StyleBlock(*pair) for pair in case.config["channels"]))
    load_official(blocks, case.weights)
    features = blocks(case.inputs["image"])
    loss = features.square().mean()
    return {"features": features, "loss": loss, **_gradients(loss, blocks)}


def replay_dino(case: Case) -> dict[str, Tensor]:
    """Features, logits before and after one power iteration, and the gradient at the images."""
    weights = case.weights
    discriminator = DinoDiscriminator(
        **_arguments(case.config["vit"], VIT),
        **_arguments(case.config["disc"], DINO),
        pixels=_side(weights["dino.pos_embed"]) * weights["dino.patch_embed.proj.weight"].shape[-1],
    )
    load_strictly(discriminator, weights, case.system)
    image = case.inputs["image"].clone().requires_grad_()
    with torch.no_grad():
        features = discriminator.features(image)
        logits = discriminator.eval()(image)
    trained = discriminator.train()(image)
    loss = -trained.mean()
    (gradient,) = torch.autograd.grad(loss, image)
    return {
        **{f"activation_{number}": value for number, value in enumerate(features)},
        "eval_logits": logits,
        "train_logits": trained.detach(),
        "weight_u_after": discriminator.state_dict()["heads.0.0.0.weight_u"],
        "loss": loss.detach(),
        "grad_image": gradient,
    }


def _side(positions: Tensor) -> int:
    """Patches a side of position embeddings [1, 1 + side * side, D]."""
    return round((positions.shape[1] - 1) ** 0.5)


REPLAYS: dict[str, Replay] = {
    "discriminator_patchgan": _replay(PatchDiscriminator, PATCH),
    "discriminator_patchgan_maskbit": _replay(MaskBitDiscriminator, PATCH),
    "discriminator_blur_v2": _replay(BlurDiscriminator, BLUR),
    "discriminator_stylegan_block": replay_stylegan_block,
    "discriminator_dino": replay_dino,
}
