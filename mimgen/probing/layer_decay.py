"""Layer-wise decay of the learning rate: what lies near the images changes slowest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mimgen.errors import UserError
from mimgen.training.optim import decay_split

__all__ = ["block_lists", "layer_of", "parameter_groups"]

# Parameters that turn images into the first tokens, by a word of their name.
_INPUT_WORDS = ("embed", "token", "position", "patch", "stem")
# Words of the name of a list of blocks.
_BLOCK_WORDS = ("block", "layer")


def block_lists(encoder: nn.Module) -> list[str]:
    """Names of the module lists that hold the encoder's blocks, in the order in which they run.

    Most encoders have one list; some have several, one behind the other (a generator's two-stream and
    one-stream blocks). They are told by their lengths, which add up to `encoder.depth`.

    Raises:
        UserError: no such lists are found.
    """
    depth = int(getattr(encoder, "depth", 0))
    lists = {
        name: len(part)
        for name, part in encoder.named_modules()
        if isinstance(part, nn.ModuleList | nn.Sequential) and len(part)
    }
    exact = [name for name, length in lists.items() if length == depth]
    # a stem may happen to have as many parts as there are blocks
    named = [name for name in exact if any(word in name.rsplit(".", 1)[-1] for word in _BLOCK_WORDS)]
    if exact:
        return (named or exact)[:1]
    for parent in dict.fromkeys(name.rpartition(".")[0] for name in lists):
        children = [name for name in lists if name.rpartition(".")[0] == parent]
        for first in range(len(children)):
            for last in range(first + 2, len(children) + 1):
                if depth and sum(lists[name] for name in children[first:last]) == depth:
                    return children[first:last]
    raise UserError(
        f"{type(encoder).__name__} has no list of {depth} blocks, so its layers cannot be told apart; "
        "fine-tuning wants an encoder with blocks, such as a vision transformer"
    )


def layer_of(name: str, blocks: Sequence[tuple[str, int]], depth: int) -> int:
    """Layer of a parameter: 0 before the blocks, 1 to depth in them, depth + 1 behind them.

    Args:
        name: of the parameter, within the encoder.
        blocks: name of each list of blocks and the number of blocks before it.
        depth: number of blocks.
    """
    for prefix, before in blocks:
        if name.startswith(f"{prefix}."):
            return before + int(name[len(prefix) + 1 :].split(".")[0]) + 1
    return 0 if any(word in name for word in _INPUT_WORDS) else depth + 1


def parameter_groups(
    encoder: nn.Module, head: nn.Module, *, decay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups for an optimiser; each has `scale`, the factor of its learning rate.

    The factor of layer l is decay^(depth + 1 - l): 1 for the head and the last norm, decay for the last
    block, decay^(depth + 1) for patch embedding, positions and class token (BEiT, arXiv 2106.08254,
    appendix; Clark et al. 2020, ELECTRA). Biases, norms, tokens and tables have no weight decay.

    Args:
        encoder: with blocks, see `block_lists`.
        head: gets factor 1.
        decay: in (0, 1]; 1 is the same rate everywhere.
        weight_decay: of matrices.

    Raises:
        UserError: a decay out of range, no blocks, or nothing that can be trained.
    """
    if not 0 < decay <= 1:
        raise UserError(f"layer decay is a factor in (0, 1], got {decay}; 0.65 to 0.9 is usual")
    depth, blocks, before = int(getattr(encoder, "depth", 0)), [], 0
    for name in block_lists(encoder):
        blocks.append((name, before))
        before += len(encoder.get_submodule(name))  # type: ignore[arg-type]
    decayed = {id(parameter) for module in (encoder, head) for parameter in decay_split(module)[0]}
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    named = [(layer_of(name, blocks, depth), part) for name, part in encoder.named_parameters()]
    for layer, parameter in named + [(depth + 1, part) for part in head.parameters()]:
        if not parameter.requires_grad:
            continue
        falls = id(parameter) in decayed
        group = groups.setdefault(
            (layer, falls),
            {
                "params": [],
                "layer": layer,
                "scale": decay ** (depth + 1 - layer),
                "weight_decay": weight_decay if falls else 0.0,
            },
        )
        group["params"].append(parameter)
    if all(layer == depth + 1 for layer, _ in groups):
        raise UserError(f"{type(encoder).__name__} is frozen: nothing of it can be fine-tuned")
    return list(groups.values())
