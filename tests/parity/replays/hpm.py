"""Replays of HPM: a step of the network, and its masks."""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.encoders.vit import VitEncoder
from mimgen.methods.hpm.adapter import ADAPTER
from mimgen.methods.hpm.masking import hardest
from mimgen.methods.hpm.networks import LossPredictor
from mimgen.methods.hpm.objective import HPM
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Mask
from tests.parity.cases import Case, Replay
from tests.parity.helpers import load_official, mae_decoder, official_gradients, vit_arguments


def _objective(case: Case) -> HPM:
    """The objective of a case, its weights loaded strictly."""
    config, arguments = case.config, vit_arguments(case.config)
    encoder = VitEncoder(**arguments, mask_token="visible" if "vis_mask_token" in case.weights else None)
    decoder = mae_decoder(config, arguments, LossPredictor)
    target = PixelTarget(arguments["patch"], normalise=bool(config.get("norm_pix_loss", False)), last=True)
    relative = case.metadata.get("relative", "true").lower() == "true"
    objective = HPM(encoder, decoder, target, relative=relative).train()
    load_official(objective.student, case.weights, ADAPTER.our_key)
    return objective


def _mask_visible(mask: Mask, noise: Tensor, ratio: float) -> Mask:
    """The visible patches that the official code veils for noise [B, K].

    It gathers with the order of the noise where its inverse is meant: still a uniform choice, but another one.
    """
    order = noise.argsort(dim=1)
    masked_visible = order >= int(noise.shape[1] * (1 - ratio))
    return Mask(mask.masked, replaced=torch.zeros_like(mask.masked).scatter(1, mask.keep, masked_visible))


def _visible_first(values: Tensor, mask: Mask) -> Tensor:
    """[B, N, ...] in the official order of the decoder: visible patches, then masked ones."""
    order = torch.cat([mask.keep, mask.drop], dim=1)
    return torch.stack([row[positions] for row, positions in zip(values, order, strict=True)])


def replay_hpm(case: Case) -> dict[str, Tensor]:
    """Features, both predictions, both losses and gradients of one step."""
    objective, images = _objective(case), case.inputs["imgs"]
    mask = Mask(case.inputs["mask"].flatten(1).bool())
    if "vis_noise" in case.inputs:
        mask = _mask_visible(mask, case.inputs["vis_noise"], float(case.config.get("vis_mask_ratio", 0.0)))
    tokens = objective.encoder(images, mask)
    output = objective.student(images, mask)
    losses = objective(Batch(images), mask)
    return {
        "features": torch.cat([tokens.prefix, tokens.patches], dim=1),
        "pix_pred": _visible_first(output.patches, mask),
        "loss_pred": _visible_first(output.losses, mask),
        "loss_pred_full_view": objective.student.predicted_loss(images),
        "loss_matrix": objective.target.loss(output.patches, objective.target(images))[mask.masked].view_as(mask.drop),
        "loss_rec": losses.terms["reconstruction"],
        "loss_learn": losses.terms["predictor"],
        "loss": losses.total,
        **official_gradients(losses.total, objective.student, case, ADAPTER.our_key),
    }


def replay_hpm_mask(case: Case) -> dict[str, Tensor]:
    """Masks at several moments of training; what the official code shuffles is sorted by the recorded keys."""
    scores, outputs = case.inputs["loss_pred"], {}
    patches = scores.shape[1]
    for name, moment in case.config.items():
        count = patches - int(patches * (1 - moment["mask_ratio"]))
        share = 0.5 * (moment["epoch"] + 1) / moment["total_epoch"] if moment["guide"] else 0.5
        hard = int(count * share)
        noise = case.inputs["shuffle_key" if hard else "noise"]
        outputs[f"mask_{name}"] = hardest(scores, noise, count, hard).float()
    return outputs


REPLAYS: dict[str, Replay] = {"hpm": replay_hpm, "hpm_mask": replay_hpm_mask}
