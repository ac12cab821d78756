"""k-NN against the whole similarity matrix and against votes counted by hand."""

import pytest
import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.probing import knn
from mimgen.probing.knn import Neighbours, knn_probe, neighbours, vote


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosines(queries: Tensor, keys: Tensor) -> Tensor:
    return (queries / queries.norm(dim=1, keepdim=True)) @ (keys / keys.norm(dim=1, keepdim=True)).T


@pytest.mark.parametrize(("keys", "k"), [(1, 1), (7, 7), (300, 1), (301, 5), (997, 20)])
def test_neighbours_are_those_of_the_whole_matrix(keys: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "_SIMILARITIES", 5 * keys)  # a few queries at a time
    queries, stored = normal(23, 6), normal(keys, 6, seed=1)
    found, expected = neighbours(queries, stored, k), cosines(queries, stored).topk(k)
    assert torch.allclose(found.similarity, expected.values, atol=1e-6)
    assert torch.equal(found.index, expected.indices)


def test_the_query_itself_can_be_left_out() -> None:
    x = normal(60, 4)
    found = neighbours(x[10:20], x, 59, skip=torch.arange(10, 20))
    assert not (found.index == torch.arange(10, 20)[:, None]).any()
    assert torch.equal(found.index[:, 0], cosines(x, x).fill_diagonal_(-2)[10:20].argmax(1))


def test_votes_are_weighted() -> None:
    near = Neighbours(torch.tensor([[0.9, 0.8, 0.79]]), torch.tensor([[0, 1, 2]]))
    classes = torch.tensor([0, 1, 1])
    assert vote(near, classes, 2, 1.0).tolist() == [1]  # e^0.9 < e^0.8 + e^0.79
    assert vote(near, classes, 2, 0.1).tolist() == [0]  # e^9 > e^8 + e^7.9
    assert vote(near, classes, 2, 1.0, k=1).tolist() == [0]
    assert vote(near, classes, 2, 1e-4).tolist() == [0]


def test_probe_agrees_with_sklearn() -> None:
    neighbors = pytest.importorskip("sklearn.neighbors")
    centres = normal(5, 8, seed=3)
    y, test_y = torch.arange(200) % 5, torch.arange(90) % 5
    x, test_x = centres[y] + 1.5 * normal(200, 8), centres[test_y] + 1.5 * normal(90, 8, seed=1)
    ours = knn_probe(x, y, test_x, test_y, seed=0, ks=(7,), temperatures=(0.2,))
    model = neighbors.KNeighborsClassifier(
        7, metric="cosine", algorithm="brute", weights=lambda d: torch.from_numpy(-d / 0.2).exp().numpy()
    )
    predicted = torch.from_numpy(model.fit(x.numpy(), y.numpy()).predict(test_x.numpy()))
    assert ours.correct is not None
    assert torch.equal(ours.correct.bool(), predicted == test_y)
    assert 0.4 < ours.accuracy < 1
    assert ours.details == {"k": 7, "temperature": 0.2}


def test_settings_are_chosen_by_leaving_one_out() -> None:
    # Each class has few images close together, so that many neighbours outvote the right ones.
    y = torch.arange(40) // 4
    x = torch.eye(10).repeat_interleave(4, 0) * 3 + 0.3 * normal(40, 10)
    found = knn_probe(x, y, x, y, seed=0, ks=(39, 3), temperatures=(100.0,))
    assert found.details["k"] == 3
    assert found.validation == pytest.approx(1.0)
    few = knn_probe(x[::8], y[::8], x[::8], y[::8], seed=0)
    assert few.details["k"] == 4  # one fewer than the training images


def test_length_of_features_does_not_matter() -> None:
    y, x = torch.arange(50) % 3, normal(50, 5)
    scaled = x * torch.logspace(-3, 3, 50)[:, None]
    assert knn_probe(x, y, x, y, seed=0).accuracy == knn_probe(scaled, y, x, y, seed=0).accuracy


def test_broken_input_is_named() -> None:
    y, x = torch.arange(20) % 2, normal(20, 3)
    with pytest.raises(UserError, match="k must be at least 1"):
        knn_probe(x, y, x, y, seed=0, ks=(0,))
    with pytest.raises(UserError, match="temperatures above 0"):
        knn_probe(x, y, x, y, seed=0, temperatures=(0.0,))
    with pytest.raises(UserError, match="21 neighbours were asked for, there are 20"):
        neighbours(x, x, 21)
    with pytest.raises(UserError, match="keys have 3 features, queries 2"):
        neighbours(x[:, :2], x, 1)
    with pytest.raises(UserError, match="single class"):
        knn_probe(x, torch.zeros_like(y), x, y, seed=0)
    with pytest.raises(UserError, match="the encoder has collapsed"):
        knn_probe(torch.ones(20, 3), y, x, y, seed=0)
