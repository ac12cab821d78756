"""Composition score on a small synthetic set with known answers."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.evaluation import composition_score, copying_baseline, describe, evaluate_composition
from mimgen.evaluation.composition import score_ranks, words

SHAPES, COLOURS = ("square", "bar", "pillar", "frame", "cross"), ("red", "green", "blue", "brown", "black")
CAPTIONS = [f"{shape}: {colour} tone" for shape in SHAPES for colour in COLOURS]
RGB = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.7, 0.1], [0.1, 0.2, 0.9], [0.5, 0.3, 0.1], [0.05, 0.05, 0.05]])


def silhouette(shape: str, size: int) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(size) / size, torch.arange(size) / size, indexing="ij")
    flat, upright = (rows - 0.5).abs(), (columns - 0.5).abs()
    return {
        "square": torch.maximum(flat, upright) < 0.3,
        "bar": (flat < 0.12) & (upright < 0.45),
        "pillar": (flat < 0.45) & (upright < 0.12),
        "frame": (torch.maximum(flat, upright) < 0.45) & (torch.maximum(flat, upright) > 0.3),
        "cross": (torch.minimum(flat, upright) < 0.1) & (torch.maximum(flat, upright) < 0.45),
    }[shape]


def make_images(size: int = 64) -> Tensor:
    """[25, 3, size, size]: every shape in every colour on white."""
    masks = torch.stack([silhouette(shape, size) for shape in SHAPES])[:, None, None]
    return torch.where(masks, RGB[None, :, :, None, None], 1.0).flatten(0, 1)


@dataclass
class Row:
    image: Tensor


class Shapes:
    name, fingerprint, captions = "shapes", "abc", CAPTIONS

    def __init__(self, size: int = 64) -> None:
        self.images = (make_images(size) * 255).round().to(torch.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int, /) -> Row:
        return Row(self.images[index])


def test_descriptor_halves_have_length_one() -> None:
    described = describe(make_images())
    assert described.shape == (25, 768 + 49 * 36)
    torch.testing.assert_close(described[:, :768].norm(dim=1), torch.ones(25))
    torch.testing.assert_close(described[:, 768:].norm(dim=1), torch.ones(25))


def test_descriptor_does_not_depend_on_the_batch() -> None:
    images = make_images()
    torch.testing.assert_close(describe(images)[7:8], describe(images[7:8]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [32, 64, 96])
def test_true_images_rank_first(size: int) -> None:
    images = make_images(size)
    score = composition_score(images, range(25), images)
    assert score.r1 == score.r5 == score.median_rank == 1
    assert score.ranks == (1,) * 25


def test_noise_scores_low_and_wrong_pairs_score_nothing() -> None:
    images = make_images()
    noise = torch.rand(25, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert composition_score(noise, range(25), images).r1 <= 2 / 25
    assert composition_score(images.roll(1, 0), range(25), images).r1 == 0


def test_one_image_for_every_prompt_is_no_success() -> None:
    images = make_images()
    assert composition_score(images[:1].expand(25, -1, -1, -1), range(25), images).r1 == 1 / 25


def test_rank_counts_the_closer_references() -> None:
    references = torch.zeros(4, 2532)
    references[:, 768] = 1
    sample = describe(make_images()[:1])[0]
    references[0] = references[2] = sample
    assert composition_score(make_images()[:1], [0], references).ranks == (1,)  # 2 is the same image
    assert composition_score(make_images()[:1], [1], references).ranks == (3,)
    assert composition_score(make_images()[:1], [1], references, leave_out=[0]).ranks == (2,)


def test_scores_from_ranks() -> None:
    score = score_ranks([1, 2, 5, 6, 100])
    assert (score.r1, score.r5, score.median_rank) == (0.2, 0.6, 5.0)


def test_words_are_case_folded_and_split_at_punctuation() -> None:
    assert words("Woman Astronaut: medium-dark, ÉTÉ") == {"woman", "astronaut", "medium", "dark", "été"}


def test_copying_picks_most_shared_words_then_fewest_extra_then_first() -> None:
    train = ["cook", "woman cook: light", "woman cook old: dark", "woman cook: dark", "woman cook: dark!"]
    assert copying_baseline(["woman cook: dark tone"], train, [10, 11, 12, 13, 14]) == [13]
    assert copying_baseline(["woman cook"], train, [10, 11, 12, 13, 14]) == [11]
    assert copying_baseline(["nothing shared"], train, [10, 11, 12, 13, 14]) == [10]


def test_evaluation_end_to_end() -> None:
    data = Shapes()
    held_out = [1, 7, 13, 19]
    train = [index for index in range(25) if index not in held_out]
    requested: list[tuple[list[str], list[int]]] = []

    def perfect(prompts: list[str], seeds: list[int]) -> Tensor:
        requested.append((prompts, seeds))
        return make_images()[[CAPTIONS.index(prompt) for prompt in prompts]]

    result = evaluate_composition(
        perfect, lambda images: images.flip(3), data, held_out, train, 5, batch_size=3
    )
    assert [len(prompts) for prompts, _ in requested] == [3, 1]
    assert result["generated"]["r1"] == result["ceiling"]["r1"] == 1  # the shapes are symmetric
    assert result["floor"]["r1"] < 1
    assert result["n"] == 4
    assert result["references"] == 25
    whole = [seed for _, seeds in requested for seed in seeds]
    requested.clear()
    evaluate_composition(perfect, None, data, held_out, train, 5, batch_size=4)
    assert whole == requested[0][1]
    assert len(set(whole)) == 4


def test_the_copied_image_is_left_out() -> None:
    data, held_out = Shapes(), [1, 7, 13, 19]
    train = [index for index in range(25) if index not in held_out]
    picks = copying_baseline([CAPTIONS[i] for i in held_out], [CAPTIONS[i] for i in train], train)
    assert not set(picks) & set(held_out)
    with_it = composition_score(make_images()[picks], held_out, make_images())
    without = composition_score(make_images()[picks], held_out, make_images(), leave_out=picks)
    assert with_it.r1 == 0  # the copy itself comes first
    assert all(a == b + 1 for a, b in zip(with_it.ranks, without.ranks, strict=True))
    result = evaluate_composition(lambda p, s: make_images()[picks], None, data, held_out, train, 0)
    assert result["floor"]["ranks"] == list(without.ranks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"true_indices": [0]}, "25 images but 1 true_indices"),
        ({"true_indices": [25] * 25}, r"\[0, 25\)"),
        ({"leave_out": list(range(25))}, "its own true image"),
    ],
)
def test_wrong_indices_are_named(arguments: dict[str, list[int]], message: str) -> None:
    call = {"true_indices": list(range(25))} | arguments
    with pytest.raises(UserError, match=message):
        composition_score(make_images(), call["true_indices"], make_images(), leave_out=call.get("leave_out"))


def test_broken_images_are_refused() -> None:
    images = make_images()
    with pytest.raises(UserError, match="NaN"):
        describe(torch.where(torch.rand_like(images) < 0.01, torch.nan, images))
    with pytest.raises(UserError, match=r"in \[0, 1\]"):
        describe(images * 2 - 1)
    with pytest.raises(UserError, match="float images"):
        describe((images * 255).to(torch.uint8))
    with pytest.raises(UserError, match="no images"):
        describe(images[:0])


def test_unequal_sizes_and_empty_splits_are_refused() -> None:
    with pytest.raises(UserError, match="open the data set at the model's size"):
        evaluate_composition(lambda p, s: make_images(32)[:1], None, Shapes(64), [1], [2], 0)
    with pytest.raises(UserError, match="train split is empty"):
        evaluate_composition(lambda p, s: make_images()[:1], None, Shapes(), [1], [], 0)
    with pytest.raises(UserError, match="compose split is empty"):
        evaluate_composition(lambda p, s: make_images()[:1], None, Shapes(), [], [2], 0)
