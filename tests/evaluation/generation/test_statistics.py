"""Streamed moments against the two-pass formula, merged in any way, and over processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.evaluation.generation import Moments, merge_all

ROOT = Path(__file__).parents[3]


def rows(n: int, width: int = 5, offset: float = 0.0) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(n)).double() + offset


@pytest.mark.parametrize("sizes", [(50,), (1, 49), (7, 20, 23), (1,) * 50])
def test_batches_give_the_moments_of_the_whole(sizes: tuple[int, ...]) -> None:
    whole = rows(50, offset=3.0)
    found = merge_all(Moments.of(part) for part in whole.split(sizes))
    assert found.count == 50
    np.testing.assert_allclose(found.mean.numpy(), whole.numpy().mean(0), rtol=1e-11)
    np.testing.assert_allclose(found.covariance.numpy(), np.cov(whole.numpy(), rowvar=False), rtol=1e-11, atol=1e-13)


def test_large_offsets_do_not_eat_the_covariance() -> None:
    """Sums of squares would lose everything here: (1e8)^2 against a variance of 1."""
    whole = rows(400, offset=1e8)
    found = merge_all(Moments.of(part) for part in whole.split(16))
    np.testing.assert_allclose(found.covariance.numpy(), np.cov(whole.numpy(), rowvar=False), rtol=1e-6, atol=1e-6)
    naive = (whole.T @ whole - torch.outer(whole.sum(0), whole.sum(0)) / 400) / 399
    assert float((naive - found.covariance).abs().max()) > 0.1


def test_float32_features_are_summed_in_float64() -> None:
    whole = (rows(300, offset=1000.0)).float()
    found = merge_all(Moments.of(part) for part in whole.split(7))
    assert found.mean.dtype == found.scatter.dtype == torch.float64
    np.testing.assert_allclose(found.mean.numpy(), whole.double().numpy().mean(0), rtol=1e-11)


def test_bad_features_are_named() -> None:
    broken = rows(4)
    broken[2, 1] = torch.nan
    with pytest.raises(UserError, match="1 of 4 images are NaN"):
        Moments.of(broken)
    with pytest.raises(UserError, match="at least one"):
        Moments.of(rows(4)[:0])
    with pytest.raises(UserError, match="5 and over 3 features"):
        Moments.of(rows(4)).merged(Moments.of(rows(4, 3)))
    with pytest.raises(UserError, match="at least 2 images, got 1"):
        _ = Moments.of(rows(1)).covariance


_TWO = """
import sys, torch
import torch.distributed as dist
from mimgen.evaluation.generation import from_tensor, lab_hog, measure_images, save_features
dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}/store", rank=int(sys.argv[2]), world_size=2)
images = torch.rand(7, 3, 16, 16, generator=torch.Generator().manual_seed(0))
found = measure_images(from_tensor(images), lab_hog(), keep=True, batch_size=2)
save_features(found, f"{sys.argv[1]}/{dist.get_rank()}.safetensors")
dist.destroy_process_group()
"""


def test_two_processes_share_the_images_and_agree(tmp_path: Path) -> None:
    from mimgen.evaluation.generation import from_tensor, lab_hog, load_features, measure_images

    script = tmp_path / "two.py"
    script.write_text(_TWO)
    shared = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, str(script), str(tmp_path), rank], env=shared, cwd=ROOT)
        for rank in "01"
    ]
    assert [each.wait(600) for each in running] == [0, 0]
    images = torch.rand(7, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    alone = measure_images(from_tensor(images), lab_hog(), keep=True)
    for rank in "01":
        found = load_features(tmp_path / f"{rank}.safetensors")
        assert found.count == 7
        assert found.features is not None
        assert alone.features is not None
        torch.testing.assert_close(found.features, alone.features)
        torch.testing.assert_close(found.moments.scatter, alone.moments.scatter)
