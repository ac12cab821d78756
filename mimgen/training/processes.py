"""Where a run runs: device, processes, DDP or FSDP2, all through accelerate."""

from __future__ import annotations

import atexit
import gc
import os
import warnings
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import nn

from mimgen.errors import UserError
from mimgen.training.optim import build_optimizer
from mimgen.training.precision import Precision, choose_precision
from mimgen.training.settings import Settings
from mimgen.training.shard import make_contiguous

if TYPE_CHECKING:
    from accelerate import Accelerator


def start_accelerate() -> Accelerator:
    """Accelerate as its launcher or its config file set it up.

    Raises:
        UserError: it is set up for a kind of parallelism that the loop does not know.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.utils import DistributedType

    # DDP imports it, and its defaults keep the process group that exists then; a group that is kept cannot be left
    # (see below). So it is imported while there is none.
    from torch.distributed.nn import functional  # noqa: F401

    # Buffers keep themselves equal (codebooks reduce their own statistics), and an opponent that
    # sits out its warm-up leaves parameters unused. bf16 is our own autocast, so none is asked here.
    wrapping = DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=True)
    accelerator = Accelerator(mixed_precision="no", kwargs_handlers=[wrapping])
    kind = accelerator.distributed_type
    old_fsdp = kind == DistributedType.FSDP and not accelerator.is_fsdp2
    if old_fsdp or kind in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise UserError(
            f"accelerate is configured for {'FSDP1' if old_fsdp else kind.value}, which is not supported; "
            "run `accelerate config` and choose plain multi-GPU (DDP) or FSDP version 2"
        )
    if accelerator.num_processes > 1:
        _leave_group_at_exit()
    return accelerator


@cache
def _leave_group_at_exit() -> None:
    """Destroy the process group before the interpreter ends, once for a process.

    Threads of gloo that still hold a tensor then would wait for an interpreter that is gone, and abort the process.
    """
    atexit.register(_leave_group)


def _leave_group() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    gc.collect()  # wrapped models are parts of cycles, and the threads end with the last holder of the group


def train_mode(objective: nn.Module) -> None:
    """Training mode, but for frozen parts that were put in eval mode (teachers, tokenizers)."""
    frozen = []
    for part in objective.modules():
        grads = [parameter.requires_grad for parameter in part.parameters()]
        if grads and not any(grads) and not part.training:
            frozen.append(part)
    objective.train()
    for part in frozen:
        part.eval()


def wrap(
    objective: nn.Module, settings: Settings, accelerator: Accelerator
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """The objective on its device, under DDP or FSDP2 where there are several processes, and its AdamW."""
    from accelerate.utils import broadcast

    objective.to(accelerator.device)
    optimizer: torch.optim.Optimizer = build_optimizer(
        objective, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)
        if accelerator.is_fsdp2:
            make_contiguous(objective)
            # FSDP2 replaces the parameters, so accelerate has to change the optimizer's too.
            model, prepared = accelerator.prepare(objective, optimizer)
            optimizer = prepared.optimizer
        else:
            model = accelerator.prepare_model(objective)
    # DDP makes the parameters equal at the start; codebooks are buffers and sampled at random.
    if accelerator.num_processes > 1:
        for buffer in objective.buffers():
            buffer.copy_(broadcast(buffer))
    return model, optimizer


def agree_precision(settings: Settings, accelerator: Accelerator) -> Precision:
    """Rank 0 decides and all follow: processes may run on unlike machines."""
    from accelerate.utils import broadcast_object_list

    chosen = [choose_precision(settings.precision, accelerator.device)]
    if accelerator.num_processes > 1:
        broadcast_object_list(chosen)
    return chosen[0]


def gather_json(state: dict[str, str], accelerator: Accelerator) -> list[dict[str, str]]:
    """One rank's state to the list of all ranks' states."""
    from accelerate.utils import gather_object

    return gather_object([state]) if accelerator.num_processes > 1 else [state]


def launched_alone(world: int) -> bool:
    """Whether `accelerate launch --cpu --num_processes N` started one process (it needs MPI for more)."""
    # Its simple launcher sets an address only where N > 1, and no rank.
    requested = "MASTER_PORT" in os.environ and "KMP_BLOCKTIME" in os.environ
    return world == 1 and requested and "WORLD_SIZE" not in os.environ


def check_division(settings: Settings, world: int) -> None:
    """Refuse a global batch that does not split evenly over processes and micro-batches."""
    parts = world * settings.accumulation
    if settings.batch_size % parts:
        raise UserError(
            f"batch_size={settings.batch_size} does not divide into {world} processes * "
            f"{settings.accumulation} micro-batches; use a multiple of {parts}"
        )
