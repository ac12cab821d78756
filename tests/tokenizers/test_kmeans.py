"""k-means against scikit-learn's, and what it does with empty centres."""

import pytest
import torch
import torch.nn.functional as F

from mimgen.tokenizers.kmeans import assign, kmeans, spherical_kmeans, totals


def rows(count=300, width=5):
    generator = torch.Generator().manual_seed(0)
    centres = 4 * torch.randn(8, width, generator=generator)
    return centres.repeat_interleave(count // 8 + 1, 0)[:count] + torch.randn(count, width, generator=generator)


def test_assign_is_the_nearest_code():
    x, codes = rows(), rows(20)
    assert torch.equal(assign(x, codes), torch.cdist(x.double(), codes.double()).argmin(1))
    far = x + 1000
    assert torch.equal(assign(far, codes + 1000), torch.cdist(far.double(), codes.double() + 1000).argmin(1))
    assert assign(x[:0], codes).shape == (0,)


def test_equal_to_scikit_learn():
    sklearn = pytest.importorskip("sklearn.cluster")
    x = rows()
    for iterations in (1, 4, 50):
        theirs = sklearn.KMeans(8, init=x[:8].numpy(), n_init=1, max_iter=iterations, tol=0, algorithm="lloyd")
        theirs.fit(x.numpy())
        ours = kmeans(x, x[:8], iterations)
        torch.testing.assert_close(ours, torch.from_numpy(theirs.cluster_centers_), rtol=1e-4, atol=1e-4)


def test_weights_are_repetitions():
    x = rows(40)
    counts = torch.randint(1, 5, (40,), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        kmeans(x, x[:4], 5, weights=counts), kmeans(x.repeat_interleave(counts, 0), x[:4], 5), rtol=1e-4, atol=1e-4
    )


def test_no_centre_stays_empty():
    x = rows()
    start = torch.cat([x[:4], torch.full((4, 5), 1e4)])
    centres = kmeans(x, start, 10)
    assert len(assign(x, centres).unique()) == 8


def test_an_empty_spherical_centre_stays():
    x = F.normalize(rows().abs(), dim=1)
    start = torch.cat([x[:3], -x[:1]])
    centres = spherical_kmeans(x, start, 5)
    assert torch.equal(centres[3], start[3])
    torch.testing.assert_close(centres.norm(dim=1), torch.ones(4))


def test_totals():
    sums, counts = totals(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([0, 2, 2]), 3)
    assert sums.flatten().tolist() == [1, 0, 6]
    assert counts.tolist() == [1, 0, 2]
