"""AdamW with the usual exemptions from weight decay, and gradient clipping in groups."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mimgen.training.objective import Trainable
from mimgen.training.shard import full_tensor


def decay_split(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Split the trainable parameters into (decayed, not decayed).

    Exempt are parameters with fewer than two dimensions (biases, norms), the tables of
    `nn.Embedding`, and bare parameters named like an embedding or a token ("position_embed",
    "mask_token").
    """
    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        leaf = name.rsplit(".", 1)[-1]
        bare = "embed" in leaf or "token" in leaf
        free = parameter.ndim < 2 or id(parameter) in tables or bare
        (exempt if free else decayed).append(parameter)
    return decayed, exempt


def build_optimizer(
    module: nn.Module, *, lr: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) over the trainable parameters, fused where torch can."""
    decayed, exempt = decay_split(module)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ValueError(f"{type(module).__name__} has no trainable parameter")
    try:
        return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)
    except RuntimeError:  # a device or dtype without a fused kernel
        return torch.optim.AdamW(groups, lr=lr, betas=betas)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group the rate `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def set_decay(optimizer: torch.optim.Optimizer, decay: float) -> None:
    """Give the groups that decay the weight decay `decay`; the exempt stay exempt."""
    for group in optimizer.param_groups:
        if group["weight_decay"]:  # 0 marks the exempt, and no schedule reaches 0 (see Settings)
            group["weight_decay"] = decay


def clip_groups(objective: Trainable) -> list[list[nn.Parameter]]:
    """The trainable parameters of each group that the objective wants clipped apart."""
    return [[p for p in group if p.requires_grad] for group in objective.clip_groups()]


def clip_gradients(groups: Sequence[Sequence[nn.Parameter]], limit: float) -> float:
    """Clip each group to norm `limit` in place (0: only measure).

    Gradients that are not finite are left as they are, so that they can be traced to a parameter.

    Returns:
        The norm over all groups before clipping; not finite when any gradient is not.
    """
    gradients = [[p.grad for p in group if p.grad is not None] for group in groups]
    norms = [_norm(group) for group in gradients]
    total = math.hypot(*norms)  # groups do not overlap, so their squares add
    if math.isfinite(total) and limit > 0:
        for group, norm in zip(gradients, norms, strict=True):
            if norm > limit:
                torch._foreach_mul_(group, limit / norm)
    return total


def _norm(gradients: list[Tensor]) -> float:
    if not gradients:
        return 0.0
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return float(full_tensor(norm))
