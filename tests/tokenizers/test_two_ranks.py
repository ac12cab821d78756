"""Two gloo processes against one: the same codebook, the same entropies, the same usage."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from mimgen.tokenizers.losses import LeCam
from mimgen.tokenizers.quantizers import LookupFreeQuantizer, VectorQuantizer
from mimgen.tokenizers.usage import CodeUsage


def batch(step):
    return torch.randn(4, 6, 4, 4, generator=torch.Generator().manual_seed(step))


def train(rank, world):
    """Results of a few steps on this rank's share of every batch."""
    torch.manual_seed(0)
    vq, lfq = VectorQuantizer(6, 24), LookupFreeQuantizer(6, inverse_temperature=1.0)
    usage, lecam = CodeUsage(24), LeCam()
    # Nothing may hang on the global generators, which differ between ranks.
    torch.manual_seed(rank)
    share = slice(rank * 4 // world, (rank + 1) * 4 // world)
    for step in range(4):
        codes = vq(batch(step)[share])
        usage.update(codes.indices)
        lecam(codes.latents, -codes.latents)
    x = batch(9).requires_grad_()
    loss = lfq(x[share]).losses["entropy"]
    (gradient,) = torch.autograd.grad(loss, x)
    results = {"gradient": gradient, "entropy": loss.detach(), "lecam": lecam.ema, **usage.state_dict()}
    return copy.deepcopy({**results, **vq.state_dict()})


def process(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.save(train(rank, 2), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, __file__]
    ranks = [subprocess.Popen([*command, str(rank), str(tmp_path)], env=path) for rank in range(2)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    single = train(0, 1)
    assert int(single["choices"]) > 1, "no code was revived, so this shows too little"
    halves = first.pop("gradient"), second.pop("gradient")
    # Data-parallel training averages the gradients of the processes.
    torch.testing.assert_close(sum(halves) / 2, single.pop("gradient"), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close((first.pop("entropy") + second.pop("entropy")) / 2, single.pop("entropy"))
    for name, value in single.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5, msg=name)


if __name__ == "__main__":
    process(int(sys.argv[1]), sys.argv[2])
