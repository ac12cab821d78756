"""Replay of CroCo: both encodings, the prediction, loss and gradients of one step."""

from __future__ import annotations

import json

import torch
from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.methods.croco.adapter import ADAPTER, arguments
from mimgen.methods.croco.decoder import CrossViewDecoder
from mimgen.methods.croco.encoder import CrossViewVit
from mimgen.methods.croco.objective import CroCo
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Mask
from tests.parity.cases import Case, Replay
from tests.parity.helpers import eps_of, load_official, official_gradients, plain

# of the official constructor, where the tensors do not predict
DEFAULTS = {"pos_embed": "cosine", "enc_num_heads": 12, "dec_num_heads": 16}


def recorded_mask(noise: Tensor, ratio: float) -> Mask:
    """The mask that the official code samples from noise [B, N].

    It compares the sorting order itself, not the rank, with the number to mask: as random, another choice.
    """
    return Mask(noise.argsort(dim=1) < int(ratio * noise.shape[1]))


def replay_croco(case: Case) -> dict[str, Tensor]:
    """Encodings of both views, prediction, mask, loss and gradients."""
    config, (first, second) = case.config, (case.inputs[name] for name in ("img1", "img2"))
    encoder_arguments = arguments({**DEFAULTS, **config}, case.weights)
    decoder_arguments = encoder_arguments.pop("decoder")
    eps = eps_of(config.get("norm_layer", ""))
    encoder = CrossViewVit(**{**encoder_arguments, **plain()}, eps=eps)
    decoder = CrossViewDecoder(**decoder_arguments, eps=eps)
    model = OfficialModel(encoder, decoder=decoder)
    load_official(model, case.weights, ADAPTER.our_key)
    normalise, masked = (json.loads(case.metadata.get(name, "true")) for name in ("norm_pix_loss", "masked"))
    target = PixelTarget(encoder.patch, normalise=bool(normalise), last=True)
    mask = recorded_mask(case.inputs["noise"], float(config.get("mask_ratio", 0.9)))
    objective = CroCo(encoder, decoder, target, lambda grid, rng: mask, everywhere=not masked).train()
    loss = objective(Batch(first, extras={"second": second}), mask).total
    return {
        "feat1": encoder(first, mask).patches,
        "feat2": encoder(second).patches,
        "mask": mask.masked.to(torch.uint8),
        "pred": objective.complete(first, second, mask),
        "loss": loss,
        **official_gradients(loss, model, case, ADAPTER.our_key),
    }


REPLAYS: dict[str, Replay] = {"croco": replay_croco}
