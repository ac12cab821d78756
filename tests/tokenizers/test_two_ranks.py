"""Two gloo processes against one: the same codebooks, the same entropies, the same usage."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from mimgen.ops.distributed import all_reduce_sum
from mimgen.tokenizers.losses import LeCam
from mimgen.tokenizers.quantizers import (
    BinarySphericalQuantizer,
    IndexBackpropQuantizer,
    LookupFreeQuantizer,
    ResidualQuantizer,
    SimpleVectorQuantizer,
    VectorQuantizer,
)
from mimgen.tokenizers.usage import CodeUsage


def batch(step):
    return torch.randn(4, 6, 4, 4, generator=torch.Generator().manual_seed(step))


def share(rank, world, cut):
    """Images of a batch that a process has; the first gets `cut` of the four."""
    return slice(0, 4) if world == 1 else slice(0, cut) if rank == 0 else slice(cut, 4)


def followed(rank, world, cut):
    """States of what follows its assignments: the codebooks of moving averages, usage, LeCAM."""
    torch.manual_seed(0)
    modules = {
        "vq": VectorQuantizer(6, 24, revive_below=1.0),
        "preset": VectorQuantizer(6, 24),
        "residual": ResidualQuantizer(6, 12, 2, revive_below=1.0),
    }
    usage, lecam = CodeUsage(24), LeCam()
    # Nothing may hang on the global generators, which differ between ranks.
    torch.manual_seed(rank)
    for step in range(4):
        found = {name: module(batch(step)[share(rank, world, cut)]) for name, module in modules.items()}
        usage.update(found["vq"].indices)
        lecam(found["vq"].latents, -found["vq"].latents)
    states = {f"{name}.{key}": v for name, m in modules.items() for key, v in m.state_dict().items()}
    return {**states, **usage.state_dict(), "lecam": lecam.ema}


def learned(rank, world, cut):
    """Codebooks trained by gradients that are averaged over the processes."""
    torch.manual_seed(0)
    modules = torch.nn.ModuleDict(
        {"simvq": SimpleVectorQuantizer(6, 24), "ibq": IndexBackpropQuantizer(6, 24, temperature=1.0)}
    )
    parameters = list(modules.parameters())
    for step in range(3):
        x = batch(step)[share(rank, world, cut)]
        loss = sum(sum(module(x).losses.values()) for module in modules.values())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
            with torch.no_grad():
                parameter -= 0.1 * all_reduce_sum(gradient) / world
    return dict(modules.state_dict())


def entropies(rank, world, cut):
    """Entropy term and its gradient, one row a kind."""
    torch.manual_seed(0)
    kinds = [
        LookupFreeQuantizer(6, inverse_temperature=1.0),
        BinarySphericalQuantizer(6, inverse_temperature=5.0),
        IndexBackpropQuantizer(6, 24, temperature=1.0),
    ]
    x = batch(9).requires_grad_()
    terms = torch.stack([kind(x[share(rank, world, cut)]).losses["entropy"] for kind in kinds])
    gradients = [torch.autograd.grad(term, x, retain_graph=True)[0] for term in terms]
    return {"gradient": torch.stack(gradients), "term": terms.detach()}


CUTS = {"even": 2, "uneven": 3}


def process(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    works = (followed, learned, entropies)
    results = {cut: copy.deepcopy([work(rank, 2, cut) for work in works]) for cut in CUTS.values()}
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Results of both processes by cut: it must not hang."""
    folder = tmp_path_factory.mktemp("ranks")
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, __file__]
    ranks = [subprocess.Popen([*command, str(rank), str(folder)], env=path) for rank in range(2)]
    assert [rank.wait(timeout=600) for rank in ranks] == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_codebooks_of_moving_averages(pair, cut):
    first, second = (results[cut][0] for results in pair)
    single = followed(0, 1, cut)
    assert int(single["vq.choices"]) > 1, "no code was revived, so this shows too little"
    for name, value in single.items():
        assert torch.equal(first[name], second[name]), name
        # LeCAM averages over processes, not over images.
        if name != "lecam" or cut == 2:
            torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_codebooks_of_gradients(pair, cut):
    first, second = (results[cut][1] for results in pair)
    for name, value in learned(0, 1, cut).items():
        assert torch.equal(first[name], second[name]), name
        # A mean over each process's positions weighs them unequally where the shares are uneven.
        if cut == 2:
            torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_entropies_and_their_gradients(pair, cut):
    first, second = (results[cut][2] for results in pair)
    # Data-parallel training averages the gradients of the processes.
    for name, value in entropies(0, 1, cut).items():
        torch.testing.assert_close((first[name] + second[name]) / 2, value, rtol=1e-4, atol=1e-6, msg=name)


if __name__ == "__main__":
    process(int(sys.argv[1]), sys.argv[2])
