"""Composition score: does an image show what its prompt says?

One image is made for each held-out caption; every image of the data set is ranked by its
distance to it in the fixed descriptor, and the rank of the true image is read off.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mimgen.data.images import load_images
from mimgen.errors import UserError
from mimgen.evaluation.descriptor import DESCRIPTOR, check_images, describe
from mimgen.types import mix_seed

# Images whose similarity to the sample differs by less than this are the same image to us:
# some data sets hold one image under two names.
_SAME = 1e-6


@dataclass(frozen=True)
class CompositionScore:
    """Ranks of the true images, 1 is best.

    Attributes:
        r1: share of prompts whose true image is ranked first.
        r5: share of prompts whose true image is among the first five.
        median_rank: median of the ranks.
        ranks: one rank per prompt.
    """

    r1: float
    r5: float
    median_rank: float
    ranks: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"r1": self.r1, "r5": self.r5, "median_rank": self.median_rank, "ranks": list(self.ranks)}


class Captioned(Protocol):
    """The part of a data set that this score reads."""

    @property
    def captions(self) -> list[str]: ...

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def composition_score(
    generated: Tensor,
    true_indices: Sequence[int],
    references: Tensor,
    *,
    leave_out: Sequence[int] | None = None,
) -> CompositionScore:
    """Rank all references for each generated image.

    rank = 1 + the number of references strictly closer than the true one.

    Args:
        generated: [n, 3, S, S] in [0, 1].
        true_indices: for each row, the reference its prompt names.
        references: [m, 3, S, S] in [0, 1], or their descriptors [m, F].
        leave_out: for each row, one reference that does not take part.

    Raises:
        UserError: lengths differ, an index is out of range, pixels are not finite, or a row
            leaves out its own true image.
    """
    others = references if references.dim() == 2 else describe(references)
    _check_indices(len(generated), true_indices, len(others), leave_out)
    similarity = describe(generated).double() @ others.double().T
    true = torch.as_tensor(list(true_indices))
    own = similarity.gather(1, true[:, None])
    if leave_out is not None:
        similarity.scatter_(1, torch.as_tensor(list(leave_out))[:, None], -torch.inf)
    return score_ranks((1 + (similarity > own + _SAME).sum(1)).tolist())


def score_ranks(ranks: Sequence[int]) -> CompositionScore:
    """Sum up ranks (1 is best)."""
    n = len(ranks)
    return CompositionScore(
        r1=sum(rank <= 1 for rank in ranks) / n,
        r5=sum(rank <= 5 for rank in ranks) / n,
        median_rank=float(statistics.median(ranks)),
        ranks=tuple(int(rank) for rank in ranks),
    )


def words(caption: str) -> frozenset[str]:
    """Distinct words: runs of letters, digits and underscores, case folded; the rest separates."""
    return frozenset(re.findall(r"\w+", caption.casefold()))


def copying_baseline(
    prompts: Sequence[str], train_captions: Sequence[str], train_indices: Sequence[int]
) -> list[int]:
    """For each prompt the training image whose caption shares most distinct words with it.

    Ties go to the caption with fewer words that the prompt lacks, then to the earlier one.

    Args:
        prompts: n captions.
        train_captions: captions of the training images.
        train_indices: index of each training image in the reference set, in the same order.

    Returns:
        n indices into the reference set.
    """
    if len(train_captions) != len(train_indices):
        raise UserError(f"copying baseline: {len(train_captions)} captions for {len(train_indices)} indices")
    if not train_indices:
        raise UserError("copying baseline: the train split is empty, so there is nothing to copy")
    known = [words(caption) for caption in train_captions]
    return [train_indices[_closest(words(prompt), known)] for prompt in prompts]


def _closest(wanted: frozenset[str], known: Sequence[frozenset[str]]) -> int:
    def merit(position: int) -> tuple[int, int, int]:
        shared = len(wanted & known[position])
        return shared, shared - len(known[position]), -position

    return max(range(len(known)), key=merit)


def evaluate_composition(
    generate: Callable[[list[str], list[int]], Tensor],
    reconstruct: Callable[[Tensor], Tensor] | None,
    dataset_all: Captioned,
    compose_indices: Sequence[int],
    train_indices: Sequence[int],
    seed: int,
    *,
    batch_size: int = 64,
) -> dict[str, Any]:
    """Score a generator between a floor (copying) and a ceiling (the tokenizer's reconstructions).

    Args:
        generate: (captions, seeds) -> images [n, 3, S, S] in [0, 1], S the data set's size.
        reconstruct: images [n, 3, S, S] -> the same through the tokenizer; None for no ceiling.
        dataset_all: all images, the reference set.
        compose_indices: held-out images in it, whose captions are the prompts.
        train_indices: images the generator was trained on.
        seed: image i is made with a seed mixed from this and i, so it does not depend on the
            batch size or on the other prompts.
        batch_size: images a call of `generate` or `reconstruct`.

    Returns:
        JSON: `generated`, `floor`, `ceiling` (or null) as CompositionScore.as_dict, and what was
        compared with what.
    """
    true = [int(index) for index in compose_indices]
    references = load_images(dataset_all, range(len(dataset_all)))
    prompts = [dataset_all.captions[index] for index in true]
    seeds = [mix_seed(seed, index) for index in true]
    chunks = [slice(start, start + batch_size) for start in range(0, len(true), batch_size)]
    made = _joined([generate(prompts[chunk], seeds[chunk]) for chunk in chunks], references, "generate")
    described = describe(references)
    picks = copying_baseline(prompts, [dataset_all.captions[i] for i in train_indices], train_indices)
    floor = composition_score(references[picks], true, described, leave_out=picks)
    ceiling = None
    if reconstruct is not None:
        parts = [reconstruct(references[true[chunk]]) for chunk in chunks]
        ceiling = composition_score(_joined(parts, references, "reconstruct"), true, described)
    return {
        "generated": composition_score(made, true, described).as_dict(),
        "floor": floor.as_dict(),
        "ceiling": None if ceiling is None else ceiling.as_dict(),
        "chance": {"r1": 1 / len(references), "median_rank": (len(references) + 1) / 2},
        "descriptor": DESCRIPTOR,
        "reference_set": dataset_all.name,
        "reference_fingerprint": dataset_all.fingerprint,
        "references": len(references),
        "n": len(true),
        "size": references.shape[-1],
        "resize": "none" if references.shape[-1] == 64 else "antialiased bilinear to 64 px, both sides",
        "seed": seed,
    }


def _joined(parts: list[Tensor], references: Tensor, what: str) -> Tensor:
    if not parts:
        raise UserError("composition: there are no prompts; the compose split is empty")
    images = torch.cat([part.detach().float().cpu() for part in parts])
    check_images(images, what)
    if images.shape[1:] != references.shape[1:]:
        have, want = list(images.shape[1:]), list(references.shape[1:])
        raise UserError(
            f"{what}: images are {have}, references {want}; open the data set at the model's size"
        )
    return images


def _check_indices(n: int, true: Sequence[int], m: int, leave_out: Sequence[int] | None) -> None:
    for name, indices in (("true_indices", true), ("leave_out", leave_out)):
        if indices is None:
            continue
        if len(indices) != n:
            raise UserError(f"composition: {n} images but {len(indices)} {name}")
        if any(not 0 <= int(index) < m for index in indices):
            raise UserError(f"composition: {name} must lie in [0, {m}), the reference set")
    if leave_out is not None and any(int(a) == int(b) for a, b in zip(true, leave_out, strict=True)):
        raise UserError("composition: a row leaves out its own true image, so it has no rank")
