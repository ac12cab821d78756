"""BEiT v2's codebook: unit codes, codes without use stay, straight-through gradient, k-means, two processes."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F

from mimgen.tokenizers.vqkd.codebook import NormalisedCodebook


def latents(seed=0, count=4):
    return torch.randn(count, 6, 3, 3, generator=torch.Generator().manual_seed(seed))


def test_codes_stay_unit_and_unused_ones_stay_put():
    codebook = NormalisedCodebook(64, 6, kmeans=False, decay=0.9)
    before = codebook.embedding.weight.clone()
    used = torch.zeros(64, dtype=torch.bool)
    used[codebook(latents()).indices.unique()] = True
    after = codebook.embedding.weight
    torch.testing.assert_close(after.norm(dim=1), torch.ones(64))
    torch.testing.assert_close(after[~used], before[~used])
    assert (after[used] != before[used]).any(1).all()


def test_codes_of_a_pass_are_those_before_its_update():
    codebook = NormalisedCodebook(16, 6, kmeans=False, decay=0.5)
    before = codebook.embedding.weight.clone()
    codes = codebook(latents())
    torch.testing.assert_close(codes.latents, before[codes.indices].permute(0, 3, 1, 2))


def test_a_used_code_moves_towards_the_mean_whatever_its_count():
    codebook = NormalisedCodebook(4, 6, kmeans=False, decay=0.9)
    before, x = codebook.embedding.weight.clone(), latents()
    ids = codebook(x).indices.flatten()
    rows = F.normalize(x, dim=1).permute(0, 2, 3, 1).flatten(0, 2)
    for code in ids.unique().tolist():
        goal = F.normalize(rows[ids == code].mean(0), dim=0)
        expected = F.normalize(0.9 * before[code] + 0.1 * goal, dim=0)
        torch.testing.assert_close(codebook.embedding.weight[code], expected)


def test_the_gradient_passes_straight_through_to_unit_latents():
    codebook = NormalisedCodebook(16, 6, kmeans=False, commitment=0.7)
    x, cotangent = latents().requires_grad_(), latents(5)
    codes = codebook(x)
    (ours,) = torch.autograd.grad((codes.latents * cotangent).sum() + codes.losses["commitment"], x)
    z = F.normalize(x, dim=1)
    expected = (z * cotangent).sum() + 0.7 * (z - codes.latents.detach()).square().mean()
    torch.testing.assert_close(ours, torch.autograd.grad(expected, x)[0])


def test_evaluation_changes_nothing_and_training_counts_usage():
    codebook = NormalisedCodebook(16, 6, decay=0.5).eval()
    before = copy.deepcopy(codebook.state_dict())
    assert codebook(latents()).losses == {}
    assert all(torch.equal(value, before[name]) for name, value in codebook.state_dict().items())
    codebook.train()(latents())
    assert float(codebook.cluster_size.sum()) == 0.5 * 4 * 9


def test_kmeans_starts_once_and_repairs_a_bad_start():
    codebook = NormalisedCodebook(16, 6)
    codebook.embedding.weight.copy_(F.normalize(torch.ones(16, 6), dim=1))
    used = codebook(latents()).indices.unique()
    assert len(used) > 12
    assert bool(codebook.embedding.initted)
    moved = codebook.embedding.weight.clone()
    codebook(latents(1))
    assert float((codebook.embedding.weight - moved).abs().max()) < 0.05


def train(rank, world):
    """The state after a few steps on this rank's share of every batch."""
    codebook = NormalisedCodebook(10, 6, decay=0.8)
    share = slice(rank * 4 // world, (rank + 1) * 4 // world)
    losses = [codebook(latents(step)[share]).losses["commitment"] for step in range(4)]
    return {**copy.deepcopy(codebook.state_dict()), "loss": torch.stack(losses)}


def process(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.save(train(rank, 2), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, __file__]
    ranks = [subprocess.Popen([*command, str(rank), str(tmp_path)], env=path) for rank in range(2)]
    assert [rank.wait(timeout=600) for rank in ranks] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    single = train(0, 1)
    torch.testing.assert_close((first.pop("loss") + second.pop("loss")) / 2, single.pop("loss"))
    for name, value in single.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5, msg=name)


if __name__ == "__main__":
    process(int(sys.argv[1]), sys.argv[2])
