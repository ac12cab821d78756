"""Replay of SelectiveMAE: selection, encoding, prediction, loss and gradients of one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD, VitEncoder
from mimgen.methods.selectivemae.adapter import ADAPTER, arguments
from mimgen.methods.selectivemae.decoder import SubsetDecoder
from mimgen.methods.selectivemae.masking import Chosen, RandomNumbers, Selective
from mimgen.methods.selectivemae.objective import SelectiveMAE, descriptors
from mimgen.pretrained import load_strictly
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Mask, Tokens
from tests.parity.cases import Case, Replay
from tests.parity.helpers import eps_of, official_gradients

# of the official constructor
DEFAULTS = {"num_heads": 16, "decoder_num_heads": 16, "mask_ratio": 0.85, "kept_mask_ratio": 0.25}
MARKS = (0, 280, 300, 580, 600)


def _selection(config: Mapping[str, Any]) -> Selective:
    """The selection of a case, with its epochs as the measure of progress."""
    keep = float(config.get("keep_rate", 1 - config["mask_ratio"]))
    return Selective(
        keep,
        float(config["kept_mask_ratio"]),
        float(config.get("initialization_keep_rate", keep / 2)) / keep,
        int(config.get("expansion_multiple_stage", 2)),
        tuple(float(mark) for mark in (config.get("expansion_step") or MARKS)[1:]),  # type: ignore[arg-type]
    )


def _objective(case: Case, config: Mapping[str, Any]) -> tuple[SelectiveMAE, OfficialModel]:
    """The objective with the case's weights."""
    eps = float(config.get("norm_eps", eps_of(config.get("norm_layer", ""))))
    found = arguments(config, case.weights)
    inner = found.pop("decoder")
    encoder, decoder = VitEncoder(**found, eps=eps), SubsetDecoder(**inner, eps=eps)
    model = OfficialModel(encoder, decoder=decoder)
    weights = {ADAPTER.our_key(key): value for key, value in case.weights.items()}
    # the official encoder adds no position to the class token, so whatever the table says of it is void
    weights["encoder.pos_embed"] = weights["encoder.pos_embed"].index_fill(1, torch.tensor(0), 0)
    load_strictly(model, {key: value for key, value in weights.items() if key is not None}, "the case")
    normalise = bool(config.get("norm_pix_loss", False))
    target = PixelTarget(encoder.patch, normalise=normalise, mean=IMAGENET_MEAN, std=IMAGENET_STD, last=True)
    objective = SelectiveMAE(encoder, decoder, target, _selection(config), score="released")
    return objective.train(), model


def _numbers(case: Case, config: Mapping[str, Any]) -> RandomNumbers:
    """The recorded random numbers; a permutation holds for all rows."""
    first = case.inputs["exponential_select"]
    rounds = range(1, int(config.get("expansion_multiple_stage", 2)) + 1)
    orders = [case.inputs.get(f"randperm_{number}", torch.empty(0, dtype=torch.int64)) for number in rounds]
    expanded = tuple(order.expand(len(first), -1) for order in orders)
    return RandomNumbers(first, case.inputs["exponential_reconstruct"], expanded)


def _latent(tokens: Tokens, mask: Mask, chosen: Chosen) -> Tensor:
    """Class token and visible tokens, these in the order of their choice."""
    position = torch.searchsorted(mask.keep.contiguous(), chosen.kept.contiguous())[..., None]
    return torch.cat([tokens.prefix, tokens.patches.gather(1, position.expand_as(tokens.patches))], dim=1)


def replay_selectivemae(case: Case) -> dict[str, Tensor]:
    """Descriptors, chosen patches, encoding, prediction, loss and gradients."""
    config = {**DEFAULTS, **case.config}
    images = case.inputs["images_u8"].float() / 255
    objective, model = _objective(case, config)
    encoder, selection = objective.encoder, objective.masking
    assert isinstance(selection, Selective), "built above"
    probabilities = objective.guide(images).softmax(1)
    with torch.no_grad():
        tokens, _ = objective.tokens(images)
    chosen = selection.choose(probabilities, tokens, float(config.get("epoch", 0)), _numbers(case, config))
    masked = torch.ones_like(probabilities, dtype=torch.bool).scatter(1, chosen.kept, False)
    mask = Mask(masked, torch.zeros_like(masked).scatter(1, chosen.scored, True))
    count = chosen.scored.shape[1]
    predicted, goal = (x[mask.predict] for x in (objective.predict(Batch(images), mask), objective.target(images)))
    loss = objective(Batch(images), mask).total
    return {
        "hog_features": descriptors((images - encoder.mean) / encoder.std, encoder.patch),
        "probabilities": probabilities,
        "ids_initial": chosen.first,
        "ids_kept": chosen.kept,
        "mask_reconstruct": mask.predict.float(),
        "latent": _latent(encoder(images, mask), mask, chosen),
        "pred": predicted.unflatten(0, (-1, count)),
        "loss_per_sample": objective.target.loss(predicted, goal).unflatten(0, (-1, count)).mean(1),
        "loss": loss,
        **official_gradients(loss, model, case, ADAPTER.our_key),
    }


REPLAYS: dict[str, Replay] = {"selectivemae": replay_selectivemae}
