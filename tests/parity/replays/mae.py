"""Replays of MAE: pretraining, and the encoder with its classifier."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.checkpoints.official import OfficialModel
from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import VitEncoder
from mimgen.masking.random import largest
from mimgen.methods.mae.adapter import heads_of, rename
from mimgen.methods.mim import MIM
from mimgen.pretrained import load_strictly
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Mask
from tests.parity.cases import Case, Replay
from tests.parity.replays.beitv2 import gradients

# recorded images are normalised already
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def vit_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of our encoder from the official constructor's, whose defaults are those of timm."""
    side = config.get("img_size", 224)
    width = config.get("embed_dim", 1024)
    return {
        "image_size": side if isinstance(side, int) else tuple(side),
        "patch": config.get("patch_size", 16),
        "width": width,
        "depth": config.get("depth", 24),
        "heads": config.get("num_heads", heads_of(width)),
        "mlp_ratio": config.get("mlp_ratio", 4.0),
        "qkv_bias": config.get("qkv_bias", True),
        "eps": eps_of(config.get("norm_layer", "")),
        **PLAIN,
    }


def eps_of(text: str) -> float:
    """The number after "eps" in a description of the norm; 1e-6, as in all of MAE's models, where none is said."""
    found = re.search(r"eps\D*?(\d[\d.]*(?:e-?\d+)?)", text)
    return float(found[1]) if found else 1e-6


def recorded_mask(noise: Tensor, ratio: float) -> tuple[Mask, Tensor]:
    """The mask that the official code samples from noise [B, N], and its order of the patches [B, N]."""
    keep = int(noise.shape[1] * (1 - ratio))
    return Mask(largest(noise, noise.shape[1] - keep)), noise.argsort(dim=1, stable=True)


def replay_mae(case: Case) -> dict[str, Tensor]:
    """Encoder output, prediction, masks, loss and gradients of one step."""
    config, images = case.config, case.inputs["imgs"]
    arguments = vit_arguments(config)
    encoder = VitEncoder(**arguments)
    decoder = MaeDecoder(
        arguments["image_size"],
        arguments["patch"],
        arguments["width"],
        config.get("decoder_embed_dim", 512),
        config.get("decoder_depth", 8),
        config.get("decoder_num_heads", 16),
        mlp_ratio=arguments["mlp_ratio"],
        eps=arguments["eps"],
    )
    model = OfficialModel(encoder, decoder)
    load_strictly(model, {rename(key): value for key, value in case.weights.items()}, "the case")
    target = PixelTarget(arguments["patch"], normalise=bool(config.get("norm_pix_loss", False)), last=True)
    ratio = float(case.metadata.get("mask_ratio", config.get("mask_ratio", 0.75)))
    mask, order = recorded_mask(case.inputs["noise"], ratio)
    objective = MIM(encoder, decoder, target, lambda grid, rng: mask).train()
    tokens = encoder(images, mask)
    predicted = decoder(tokens, mask)
    loss = objective(Batch(images), mask).total
    outputs = {
        "latent": in_order(tokens.prefix, tokens.patches, mask, order),
        "mask": mask.masked.float(),
        "ids_restore": order.argsort(dim=1),
        "pred": predicted,
        "target_unpatch_roundtrip": target.images(predicted, tokens.grid),
        "loss": loss[None],
        **official_gradients(loss, model, case, rename),
    }
    return {name: value.detach() for name, value in outputs.items()}


def in_order(prefix: Tensor, patches: Tensor, mask: Mask, order: Tensor) -> Tensor:
    """Class token and visible tokens, these as the official code keeps them: in the order of their noise."""
    kept = order[:, : patches.shape[1]]
    position = torch.searchsorted(mask.keep.contiguous(), kept.contiguous())
    return torch.cat([prefix, patches.gather(1, position[..., None].expand_as(patches))], dim=1)


def replay_mae_vit(case: Case) -> dict[str, Tensor]:
    """Pooled features, logits, loss and gradients of the fine-tuned network."""
    config = case.config
    encoder = VitEncoder(
        **vit_arguments(config),
        pool="mean" if config.get("global_pool", False) else "class",
        classes=config.get("num_classes", 1000),
    )
    load_strictly(encoder, case.weights, "the case")
    encoder.eval()
    features = encoder.pool(encoder(case.inputs["imgs"]))
    logits = features if encoder.head is None else encoder.head(features)
    outputs = {"features": features, "logits": logits}
    if "labels" in case.inputs:
        loss = F.cross_entropy(logits, case.inputs["labels"])
        outputs |= {"loss": loss[None], **official_gradients(loss, encoder, case, str)}
    return {name: value.detach() for name, value in outputs.items()}


def official_gradients(loss: Tensor, module: nn.Module, case: Case, name_of: Callable[[str], str]) -> dict[str, Tensor]:
    """The recorded gradients, by the official names of their parameters, which `name_of` turns into ours."""
    official = [name.removeprefix("grad/") for name in case.outputs if name.startswith("grad/")]
    ours = gradients(loss, module, [name_of(name) for name in official])
    return {f"grad/{name}": ours[f"grad/{name_of(name)}"] for name in official}


REPLAYS: dict[str, Replay] = {"mae": replay_mae, "mae_vit": replay_mae_vit}
