"""Replays of CCViT."""

from __future__ import annotations

from torch import Tensor

from mimgen.methods.ccvit import CCViT
from mimgen.tokenizers.centroids import CentroidTokenizer
from mimgen.types import Batch, Mask
from tests.parity.cases import Case, Replay
from tests.parity.helpers import gradients
from tests.parity.replays.beitv2 import pretraining_network


def replay_ccvit(case: Case) -> dict[str, Tensor]:
    """Ids, corrupted images, both heads, the losses and gradients of one step."""
    inputs, config = case.inputs, case.config
    encoder = pretraining_network(config["model"], case.weights)
    objective = CCViT(encoder, CentroidTokenizer.from_centroids(inputs["centroids"])).train()
    masked, replaced = (inputs[name].flatten(1).bool() for name in ("masked", "replaced"))
    images, goal = inputs["image"], inputs["image_target"]

    mask = Mask(masked, masked | replaced, replaced)
    ids = objective.target(goal)
    corrupted = objective.corrupted(images, ids, mask)
    predicted = encoder.predict(corrupted, mask)
    # the official code takes its targets from a second image, the same crop with other noise
    for part in (objective.target, objective.pixels):
        part.forward = lambda _images, part=part: type(part).forward(part, goal)
    losses = objective(Batch(images), mask)
    outputs = {
        "tokens": ids,
        "input_after_replacement": encoder.normalised(corrupted),
        "logits": predicted.codes,
        "pixels": predicted.second,
        "loss": losses.total,
        "loss_1": losses.terms["code"],
        "loss_2": losses.terms["pixel"],
        **gradients(losses.total, encoder, config.get("grads", ())),
    }
    return {name: value.detach() for name, value in outputs.items() if value is not None}


REPLAYS: dict[str, Replay] = {"ccvit": replay_ccvit}
