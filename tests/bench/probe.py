"""`python -m tests.bench probe`: a sweep at once, k-NN in blocks and efficient probing, each against the usual way."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimgen.cli.options import parse
from mimgen.layers.pooling import ProbeHead, pooling_named
from mimgen.probing.attentive import AttentiveTraining, attentive_probe
from mimgen.probing.knn import neighbours, vote
from tests.bench.peak_memory import peak_in_child
from tests.bench.sweep import bench_sweep
from tests.bench.tokenizer import fastest

__all__ = ["bench", "bench_attentive", "bench_knn", "main"]

MIB = 2**20
_TEMPERATURE = 0.07


@dataclass(frozen=True)
class Options:
    """Time the probes against separate training runs, scikit-learn and multi-head attention pooling.

    Attributes:
        images: training images of the sweep; half as many test it.
        features: width of their features.
        classes: number of their classes.
        epochs: of each of the separate runs (90 is the usual protocol).
        keys: images to find neighbours among.
        queries: images that look for neighbours.
        width: width of the features of k-NN, and of the tokens of the attentive probes.
        tokens: tokens of an image for the attentive probes.
        batch: images of their training step.
        repeats: runs of a training step; the fastest counts.
        seed: of all data and probes.
        out: also write the result to this JSON file, and a page beside it.
    """

    images: int = 10000
    features: int = 192
    classes: int = 50
    epochs: int = 90
    keys: int = 50000
    queries: int = 10000
    width: int = 768
    tokens: int = 196
    batch: int = 16
    repeats: int = 5
    seed: int = 0
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Run `python -m tests.bench probe`; the exit status is 1 where results disagree with the usual way's."""
    options = parse(Options, arguments, "python -m tests.bench probe")
    measured = bench(**{name: value for name, value in asdict(options).items() if name != "out"})
    sweep, knn, attentive = (measured[part] for part in ("sweep", "knn", "attentive"))
    print(
        f"linear probe, {sweep['settings']} settings, {options.images} x {options.features}\n"
        f"  at once {sweep['seconds']:.2f} s: {100 * sweep['accuracy']:.2f} %\n"
        f"  separate runs, {options.epochs} epochs {sweep['separate_s']:.2f} s: "
        f"{100 * sweep['separate_accuracy']:.2f} %, so {sweep['ratio']:.1f} times as fast\n"
        f"  separate runs, {sweep['epochs']} epochs {sweep['short_s']:.2f} s: "
        f"{100 * sweep['short_accuracy']:.2f} %, so {sweep['short_ratio']:.1f} times as fast\n"
        f"k-NN, {options.queries} queries among {options.keys} x {options.width}\n"
        + "".join(
            f"  {name:22} {knn[name]['seconds']:7.2f} s, {knn[name]['extra_mib']:6.0f} MiB on top of the features\n"
            for name in _SEARCHES
        )
        + f"  {knn['ratio']:.2f} times as fast as the faster of scikit-learn's; same answer for "
        f"{100 * knn['agree']:.2f} %\n"
        f"attentive probes, {options.tokens} x {options.width} tokens, batch {options.batch}\n"
        f"  efficient {attentive['efficient_s']:.3f} s a step, multi-head {attentive['multihead_s']:.3f} s: "
        f"{attentive['ratio']:.1f} times as fast\n"
        f"  on a small task: {100 * attentive['efficient_accuracy']:.1f} % and "
        f"{100 * attentive['multihead_accuracy']:.1f} %"
    )
    if options.out is not None:
        from mimgen.report.result import write_outcome

        protocol = {name: value for name, value in asdict(options).items() if name != "out"}
        result = {"measure": "bench probe", "protocol": protocol, "scores": measured}
        write_outcome(options.out, result, title="Speed of the probes")
        print(f"written to {options.out}")
    agree = sweep["accuracy"] >= sweep["separate_accuracy"] - 0.002 and knn["agree"] > 0.995
    print("as accurate as the usual way" if agree else "LESS accurate than the usual way: please report this")
    return 0 if agree else 1


def bench(
    images: int = 10000,
    features: int = 192,
    classes: int = 50,
    epochs: int = 90,
    keys: int = 50000,
    queries: int = 10000,
    width: int = 768,
    tokens: int = 196,
    batch: int = 16,
    repeats: int = 5,
    seed: int = 0,
) -> dict[str, Any]:
    """All three measurements; arguments as in `Options`.

    Returns:
        {"sweep", "knn", "attentive"}: what the three functions return, and "threads".
    """
    return {
        "sweep": bench_sweep(images, features, classes, epochs, seed),
        "knn": bench_knn(keys, queries, width, seed),
        "attentive": bench_attentive(width, tokens, batch, repeats, seed),
        "threads": torch.get_num_threads(),
    }


def bench_knn(keys: int = 50000, queries: int = 10000, width: int = 768, seed: int = 0) -> dict[str, Any]:
    """k-NN with 20 weighted votes by cosine: ours and scikit-learn's two ways, each in a process of its own.

    scikit-learn measures cosine distances itself, or Euclidean ones of features of length 1, which has the
    same neighbours and a faster search. "extra_mib" is what resident memory peaks at above the features.

    Returns:
        {"ours", "scikit-learn cosine", "scikit-learn euclidean": {"seconds", "extra_mib"}, "features_mib",
        "ratio" (the faster of scikit-learn's / ours), "agree": share of queries for which the three answer alike}.
    """
    found: dict[str, Any] = {}
    answers = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in _SEARCHES:
            file = Path(folder) / f"{name}.pt"
            peak = peak_in_child(_prepare_search, (name, keys, queries, width, seed, str(file)))
            seconds, answers[name] = torch.load(file, weights_only=True)
            found[name] = {"seconds": seconds, "extra_mib": peak / MIB}
    ours, *others = answers.values()
    same = torch.stack([other == ours for other in others]).all(0)
    return {
        **found,
        "features_mib": 4 * (keys + queries) * width / MIB,
        "ratio": min(found[name]["seconds"] for name in _SEARCHES[1:]) / found["ours"]["seconds"],
        "agree": float(same.double().mean()),
    }


def bench_attentive(
    width: int = 768, tokens: int = 196, batch: int = 16, repeats: int = 5, seed: int = 0, steps: int = 200
) -> dict[str, Any]:
    """A training step of efficient probing and of a multi-head attention pooling; and how well both learn.

    Accuracy, after `steps` of training, is that of 96 wide tokens on a grid of 7 x 7, three of which carry the class
    among clutter.

    Returns:
        {"efficient_s", "multihead_s" a step, "ratio", "efficient_parameters", "multihead_parameters" (trained
        numbers with the classifier of 100 classes), "efficient_accuracy", "multihead_accuracy"}.
    """
    side = int(tokens**0.5)
    torch.manual_seed(seed)
    x, y = torch.randn(batch, tokens, width), torch.randint(100, (batch,))
    heads = {name: ProbeHead(pooling_named(name, width, (side, tokens // side)), 100) for name in _POOLINGS}
    took = fastest(repeats, *(_training_step(head, x, y) for head in heads.values()))
    train, test = _clutter(2000, seed, seed + 1), _clutter(1000, seed, seed + 2)
    # the few numbers of efficient probing want larger steps; both may choose among all of them
    training = AttentiveTraining(rates=(5e-3, 2e-2, 5e-2), steps=steps, batch_size=128, warmup=steps // 10)
    found: dict[str, Any] = {"ratio": took[1] / took[0]}
    for name, seconds in zip(_POOLINGS, took):
        probe = attentive_probe(*train, *test, seed=seed, pooling=name, training=training)
        found[f"{name}_s"] = seconds
        found[f"{name}_parameters"] = heads[name].parameter_count
        found[f"{name}_accuracy"] = probe.result.accuracy
    return found


_POOLINGS = ("efficient", "multihead")
_SEARCHES = ("ours", "scikit-learn cosine", "scikit-learn euclidean")


def _training_step(head: ProbeHead, x: Tensor, y: Tensor) -> Callable[[], object]:
    optimizer = torch.optim.SGD(head.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(x), y).backward()
        optimizer.step()

    step()  # the first one also allocates
    return step


def _clutter(images: int, world: int, seed: int) -> tuple[Tensor, Tensor]:
    """[n, 49, 96] tokens of noise, of which three neighbours in a row carry the class; [n] labels of 10 classes."""
    signs = torch.randn(10, 96, generator=torch.Generator().manual_seed(world))
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(10, (images,), generator=generator)
    x = torch.randn(images, 49, 96, generator=generator)
    positions = torch.randint(47, (images, 1), generator=generator) + torch.arange(3)
    x[torch.arange(images)[:, None], positions] += 0.6 * signs[y][:, None]
    return x, y


def _prepare_search(
    kind: str, keys: int, queries: int, width: int, seed: int, file: str
) -> Callable[[], object]:
    """Make features and import what is needed; what is returned answers and saves seconds and answers to `file`."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(100, width, generator=generator)
    classes = torch.randint(100, (keys,), generator=generator)
    x = torch.randn(keys, width, generator=generator).mul_(6).add_(centres[classes])
    requested = torch.randint(100, (queries,), generator=generator)
    points = torch.randn(queries, width, generator=generator).mul_(6).add_(centres[requested])
    search = _search(kind)
    search(x[:50], classes[:50], points[:2])  # what is loaded on first use is not counted

    def run() -> None:
        start = time.perf_counter()
        answer = search(x, classes, points)
        torch.save((time.perf_counter() - start, answer), file)

    return run


def _search(kind: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """(keys [n, F], classes [n], queries [m, F]) -> classes [m]."""
    if kind == "ours":
        return lambda x, classes, points: vote(neighbours(points, x, 20), classes, 100, _TEMPERATURE)
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import normalize

    cosine = kind.endswith("cosine")

    def search(x: Tensor, classes: Tensor, points: Tensor) -> Tensor:
        model = KNeighborsClassifier(
            20, algorithm="brute", metric="cosine" if cosine else "euclidean",
            # Features of length 1 at Euclidean distance d have cosine 1 - d^2 / 2.
            weights=lambda d: torch.from_numpy(-d if cosine else -d * d / 2).div(_TEMPERATURE).exp().numpy(),
        )  # fmt: skip
        learnt, requested = (x.numpy(), points.numpy()) if cosine else (normalize(x.numpy()), normalize(points.numpy()))
        return torch.from_numpy(model.fit(learnt, classes.numpy()).predict(requested))

    return search
