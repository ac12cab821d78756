"""Replays of LUT."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mimgen.encoders.vit import VitEncoder
from mimgen.masking.disjoint import second_view
from mimgen.methods.lut.adapter import ADAPTER
from mimgen.methods.lut.objective import LUT
from mimgen.methods.lut.projection import Activation, Norm, projection_head
from mimgen.pretrained import load_strictly
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Mask
from tests.parity.cases import Case, Replay
from tests.parity.helpers import (
    in_order,
    mae_decoder,
    mask_ratio,
    official_gradients,
    recorded_mask,
    vit_arguments,
)

_NORMS: dict[str, Norm] = {"BN": "batch", "LN": "layer"}
_ACTIVATIONS: dict[str, Activation] = {"ReLU": "relu", "GELU": "gelu"}


def _heads(config: Mapping[str, Any], width: int) -> tuple[nn.Module, nn.Module]:
    """Head and predictor of a case."""
    masked = config.get("head_mlp_dim", 4096)
    norm = _NORMS.get(config.get("head_norm_layer", "BN"), "none")
    activation = _ACTIVATIONS[config.get("head_act_layer", "ReLU")]
    head, predictor = (
        projection_head(width, masked, None, config.get(depth, 2), norm, activation)
        for depth in ("depth_head", "depth_pred")
    )
    return head, predictor


def _objective(case: Case) -> LUT:
    """The objective of a case, its weights loaded strictly."""
    config, arguments = case.config, vit_arguments(case.config)
    decoder = mae_decoder(config, arguments)
    objective = LUT(
        VitEncoder(**arguments),
        decoder,
        PixelTarget(arguments["patch"], normalise=bool(config.get("norm_pix_loss", False)), last=True),
        *_heads(config, arguments["width"]),
        lambda images, rng: (images, images),
        reconstruction_weight=float(case.metadata.get("w_mae", 1.0)),
        context_weight=float(case.metadata.get("w_bc", 0.25)),
    ).train()
    load_strictly(objective, _named(case.weights), "the case")
    return objective


def _named(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under our names, without those of the teacher that the loss never uses."""
    named = {ours: value for key, value in weights.items() if (ours := _position(key)) is not None}
    # Scalars are recorded as [1].
    return {name: value.reshape(()) if name.endswith("_tracked") else value for name, value in named.items()}


def _position(key: str) -> str | None:
    """Our name, within the objective, of an official tensor of student or teacher."""
    who, _, name = key.partition(".")
    part, _, rest = name.partition(".")
    # head and predictor are of training alone, so the adapter leaves them out
    ours = name if part in ("head", "predictor") and rest[:1].isdigit() else ADAPTER.our_key(name)
    if ours is None or who == "student":
        return ours if ours is None or ours.startswith(("decoder.", "predictor.")) else f"student.{ours}"
    return f"teacher.module.{ours}" if ours.startswith(("encoder.", "head.")) else None


def replay_lut(case: Case) -> dict[str, Tensor]:
    """Tokens of both views, vectors of student and teacher, losses, statistics and gradients of one step."""
    objective, noise = _objective(case), case.inputs["noise"]
    first, order = recorded_mask(noise, mask_ratio(case))
    shown = first.keep.shape[1]
    # The next ones of the same order are visible in the second view.
    masks = first, Mask(second_view(first.masked, noise, shown))
    views = case.inputs["imgs1"], case.inputs["imgs2"]
    objective.views, objective.masking = lambda images, rng: views, lambda grid, rng: masks
    # a copy, as a second pass would move the batch norms' statistics once more
    other = copy.deepcopy(objective)
    tokens = [other.encoder(view, mask) for view, mask in zip(views, masks, strict=True)]
    losses = objective(Batch(views[0]))
    outputs: dict[str, Tensor] = {}
    for number, (view_tokens, mask) in enumerate(zip(tokens, masks, strict=True)):
        kept = order[:, number * shown : (number + 1) * shown]
        outputs[f"latent{number + 1}"] = in_order(view_tokens.prefix, view_tokens.patches, mask, kept)
        outputs[f"mask{number + 1}"] = mask.masked.float()
    outputs |= {
        "pred": other.decoder(tokens[0], masks[0]),
        "student_output": torch.cat([other.predictor(other.student.pooled(each)) for each in tokens]),
        "teacher_output": torch.cat([other.teacher(view) for view in views]),
        "mae_loss": losses.terms["reconstruction"],
        "bc_loss": losses.terms["context"],
        "loss": losses.total,
    }
    outputs |= _after(objective, case)
    outputs |= official_gradients(losses.total, objective, case, lambda name: str(_position(name)))
    return outputs


def _after(objective: LUT, case: Case) -> dict[str, Tensor]:
    """The recorded statistics of batch norms."""
    state, found = objective.state_dict(), {}
    for name in case.outputs:
        if (
            name.startswith("buffer_after/")
            and (ours := _position(name.removeprefix("buffer_after/"))) in state
        ):
            found[name] = state[str(ours)].reshape(case.outputs[name].shape)
    return found


REPLAYS: dict[str, Replay] = {"lut": replay_lut}
