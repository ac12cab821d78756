"""Replays of iBOT: one step of self-distillation with prototypes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mimgen.data.transforms.views import MultiCrop, Views
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.ibot.adapter import ADAPTER, MARGIN
from mimgen.methods.ibot.head import PrototypeHead
from mimgen.methods.ibot.objective import IBOT, IBOTNetwork
from mimgen.methods.ibot.prototypes import Temperature
from mimgen.pretrained import load_strictly
from mimgen.types import Batch, Mask
from tests.parity.cases import Case, Replay
from tests.parity.helpers import gradients

SHARED = "head.last_layer2."


def network(config: Mapping[str, Any], official: Mapping[str, Tensor], shared: bool) -> IBOTNetwork:
    """Student or teacher, with the weights of the case.

    Args:
        config: of the case.
        official: its tensors, under the names of a multi-crop wrapper.
        shared: one set of prototypes for class and patch tokens. It is recorded twice then.
    """
    kept = {key: value for key, value in official.items() if not (shared and key.startswith(SHARED))}
    tensors = ADAPTER.from_official(kept)
    vit = config.get("vit", {})
    side = vit.get("img_size", 224)
    scale, channels = official.get("backbone.blocks.0.gamma_1"), official["backbone.patch_embed.proj.weight"].shape[1]
    encoder = VitEncoder(
        side if isinstance(side, int) else side[0],
        vit.get("patch_size", 16),
        vit.get("embed_dim", 768),
        vit.get("depth", 12),
        vit.get("num_heads", 12),
        vit.get("mlp_ratio", 4.0),
        "backbone.blocks.0.attn.qkv.bias" in official,
        layer_scale=None if scale is None else vit.get("init_values", 0.1),
        eps=vit.get("norm_eps", 1e-6),
        mask_token="replace" if "backbone.masked_embed" in official else None,
        position_margin=MARGIN,
        channels=channels,
        # recorded images are normalised already
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )
    prototypes = config.get("out_dim", 8192)
    head = PrototypeHead(
        encoder.dim,
        prototypes,
        None if shared else config.get("patch_out_dim", prototypes),
        config.get("hidden_dim", 2048),
        config.get("bottleneck_dim", 256),
        sum(key.startswith("head.mlp.") and key.endswith("weight") for key in official),
        # the recorded gains are not 1
        fixed_gain=False,
    )
    made = IBOTNetwork(encoder, head)
    load_strictly(made, tensors, "the case")
    return made


def _part(case: Case, prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in case.weights.items() if key.startswith(prefix)}


def objective_of(case: Case) -> tuple[IBOT, IBOTNetwork]:
    """The objective and its teacher's network before the recorded step, which counts in epochs."""
    config, loss = case.config, case.config.get("loss", {})
    student = network(config, _part(case, "student."), bool(config.get("shared_head", False)))
    teacher = network(config, _part(case, "teacher."), bool(config.get("shared_head_teacher", True)))
    side, rise = case.inputs["global_crops"].shape[-1], loss.get("warmup_teacher_temp_epochs", 30)
    made = IBOT(
        student.encoder,
        student.head,
        MultiCrop(side, small=0),
        lambda grid, rng: None,  # type: ignore[arg-type,return-value]
        class_temperature=Temperature(loss.get("warmup_teacher_temp", 0.04), loss.get("teacher_temp", 0.04), rise),
        patch_temperature=Temperature(
            loss.get("warmup_teacher_temp2", 0.04),
            loss.get("teacher_temp2", 0.07),
            rise,
            loss.get("mim_start_epoch", 0),
        ),
        student_temperature=loss.get("student_temp", 0.1),
        centre_momentum=(loss.get("center_momentum", 0.9), loss.get("center_momentum2", 0.9)),
        class_weight=loss.get("lambda1", 1.0),
        patch_weight=loss.get("lambda2", 1.0),
    ).train()
    # the official teacher may share prototypes where the student does not
    made.teacher.module = teacher.requires_grad_(False).eval()
    made.class_centre.value.copy_(case.weights["ibot_loss.center"].flatten())
    made.patch_centre.value.copy_(case.weights["ibot_loss.center2"].flatten())
    return made, teacher


def replay_ibot(case: Case) -> dict[str, Tensor]:
    """Scores of student and teacher, both losses, gradients and the centres after the step."""
    made, teacher = objective_of(case)
    large, nothing = case.inputs["global_crops"], torch.zeros(0)
    views = Views(large, case.inputs.get("local_crops", nothing))
    mask = Mask(case.inputs["masks"].flatten(2).flatten(0, 1).bool())
    made.views, made.masking = lambda images, rng: views, lambda grid, rng: mask
    losses = made(Batch(large[0], step=1 + int(case.metadata.get("epoch", 0))))
    loss = losses.total
    outputs = {
        **_scores("teacher", teacher, large, None),
        **_scores("student", made.student, large, mask),
        "cls_loss": losses.terms["class"] * losses.weights["class"],
        "patch_loss": losses.terms["patch"] * losses.weights["patch"],
        "loss": loss,
        "center_after": made.class_centre.value[None],
        "center2_after": made.patch_centre.value[None, None],
    }
    if len(views.small):
        small = made.student(views.small.flatten(0, 1))
        outputs["student_local_cls"] = made.student.head.classes(small.classes)
    outputs |= _gradients(case, loss, made)
    return outputs


def _scores(name: str, part: IBOTNetwork, large: Tensor, mask: Mask | None) -> dict[str, Tensor]:
    output = part(large.flatten(0, 1), mask)
    return {f"{name}_cls": part.head.classes(output.classes), f"{name}_patch": part.head.patches(output.patches)}


def _gradients(case: Case, loss: Tensor, made: IBOT) -> dict[str, Tensor]:
    """The recorded gradients of the student, under their official names."""
    shared = made.student.head.last_layer2 is None
    ours = {}
    for key in case.outputs:
        if key.startswith("grad/student."):
            name = key.removeprefix("grad/student.")
            name = name.replace(SHARED, "head.last_layer.") if shared else name
            ours[key] = str(ADAPTER.our_key(name))
    found = gradients(loss, made.student, list(dict.fromkeys(ours.values())))
    # the official mask token is [1, D], ours [1, 1, D]
    return {key: found[f"grad/{name}"].view_as(case.outputs[key]) for key, name in ours.items()}


REPLAYS: dict[str, Replay] = {"ibot": replay_ibot}
