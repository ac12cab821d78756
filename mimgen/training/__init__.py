"""Training: one loop for every objective, on accelerate, with exact resume.

`fit` knows an objective as "batch -> Losses" and data as "step -> micro-batches". Stop a run with
Ctrl-C or SIGTERM, or lose it to a crash, and start the same command again: it resumes from the
newest checkpoint. The weights of N steps are those of k steps, a kill and N - k steps, bit for bit
on a CPU; the number of processes may change in between, to within rounding.

**Several GPUs.** `accelerate launch --multi_gpu --num_processes 8 ...` starts one process a GPU under
DDP. `Settings.batch_size` is the global batch, so the learning rate and the losses do not depend on
the number of processes. Precision is `Settings.precision`; accelerate's `--mixed_precision` is not
read. On CPUs: `ACCELERATE_USE_CPU=1 torchrun --nproc_per_node 2 ...` (gloo), or the `--multi_gpu` line
above with that variable set; `accelerate launch --cpu --num_processes 2` starts a single process
unless it finds MPI.

**Several machines.** The same command on each, with `--num_machines 2 --machine_rank 0|1
--main_process_ip <first machine> --main_process_port 29500 --num_processes <total>`, or once and for
all through `accelerate config`. The run folder must lie on a file system that all machines share:
rank 0 writes it and every rank reads checkpoints from it.

**FSDP2.** `accelerate config`, or `accelerate launch --use_fsdp --fsdp_version 2
--fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP --fsdp_transformer_layer_cls_to_wrap <Block> ...`,
splits weights, averages and moments over GPUs (accelerate offers it for GPUs only). Checkpoints
are gathered to full tensors, so a run may resume under DDP or on one GPU. The blocks of the text-to-image
generator are `JointBlock,SingleBlock`. FSDP1, DeepSpeed and Megatron are refused by name.

**Little memory.** `Lora` trains low-rank adapters in the place of the weights (peft); `mimgen.layers.recompute`
keeps the inputs of blocks only (gradient checkpointing).
"""

from mimgen.training.checkpoint import load_ema
from mimgen.training.loop import fit
from mimgen.training.lora import Lora, add_lora, load_adapter, merge_lora, save_adapter
from mimgen.training.objective import Trainable
from mimgen.training.resume import changes
from mimgen.training.settings import Batches, Result, Settings

__all__ = [
    "Batches",
    "Lora",
    "Result",
    "Settings",
    "Trainable",
    "add_lora",
    "changes",
    "fit",
    "load_adapter",
    "load_ema",
    "merge_lora",
    "save_adapter",
]
