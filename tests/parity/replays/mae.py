"""Replays of MAE: pretraining, and the encoder with its classifier."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.mae.adapter import ADAPTER
from mimgen.methods.mim import MIM
from mimgen.targets import PixelTarget
from mimgen.types import Batch
from tests.parity.cases import Case, Replay
from tests.parity.helpers import (
    in_order,
    load_official,
    mae_decoder,
    mask_ratio,
    official_gradients,
    recorded_mask,
    vit_arguments,
)


def replay_mae(case: Case) -> dict[str, Tensor]:
    """Encoder output, prediction, masks, loss and gradients of one step."""
    config, images = case.config, case.inputs["imgs"]
    arguments = vit_arguments(config)
    encoder, decoder = VitEncoder(**arguments), mae_decoder(config, arguments)
    model = OfficialModel(encoder, decoder)
    load_official(model, case.weights, ADAPTER.our_key)
    target = PixelTarget(encoder.patch, normalise=bool(config.get("norm_pix_loss", False)), last=True)
    mask, order = recorded_mask(case.inputs["noise"], mask_ratio(case))
    objective = MIM(encoder, decoder, target, lambda grid, rng: mask).train()
    tokens = encoder(images, mask)
    predicted = decoder(tokens, mask)
    loss = objective(Batch(images), mask).total
    return {
        "latent": in_order(tokens.prefix, tokens.patches, mask, order),
        "mask": mask.masked.float(),
        "ids_restore": order.argsort(dim=1),
        "pred": predicted,
        "target_unpatch_roundtrip": target.images(predicted, tokens.grid),
        "loss": loss,
        **official_gradients(loss, model, case, ADAPTER.our_key),
    }


def replay_mae_vit(case: Case) -> dict[str, Tensor]:
    """Pooled features, logits, loss and gradients of the fine-tuned network."""
    config = case.config
    encoder = VitEncoder(
        **vit_arguments(config),
        pool="mean" if config.get("global_pool", False) else "class",
        classes=config.get("num_classes", 1000),
    )
    load_official(encoder, case.weights)
    encoder.eval()
    features = encoder.pool(encoder(case.inputs["imgs"]))
    logits = features if encoder.head is None else encoder.head(features)
    outputs = {"features": features, "logits": logits}
    if "labels" in case.inputs:
        loss = F.cross_entropy(logits, case.inputs["labels"])
        outputs |= {"loss": loss, **official_gradients(loss, encoder, case)}
    return outputs


REPLAYS: dict[str, Replay] = {"mae": replay_mae, "mae_vit": replay_mae_vit}
