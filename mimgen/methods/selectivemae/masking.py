"""SelectiveMAE's masks: a few informative patches are seen, a few others are predicted, the rest is left alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.ops.positions import gather_tokens
from mimgen.types import Mask, SampleRNG

# Products such as 196 * 0.25 may come out a hair below the whole number that is meant.
_SLACK = 1e-9


@dataclass(frozen=True)
class RandomNumbers:
    """The random numbers of one selection.

    Attributes:
        first: [B, N] positive, exponentially distributed; of the sample of the first patches.
        scored: [B, N - K] positive, exponentially distributed; of the sample of the scored patches.
        orders: for each round a permutation [B, what the round has left to choose from].
    """

    first: Tensor
    scored: Tensor
    orders: tuple[Tensor, ...]


@dataclass(frozen=True)
class Chosen:
    """Ids of patches.

    Attributes:
        first: [B, ...] sampled by the guide.
        kept: [B, K] all that are seen, in the order of their choice; begins with `first`.
        scored: [B, M] to be predicted.
    """

    first: Tensor
    kept: Tensor
    scored: Tensor


@dataclass(frozen=True)
class Selective:
    """Three sets in each row: K visible patches, M scored ones, and the rest (SelectiveMAE, section 4).

    Some of the visible patches are sampled by the guide, without repetition. The others join in `rounds`: those
    most similar to what is chosen already, later in training those least similar, at last any. Scored patches are
    sampled by the guide from those that are not seen.

    Attributes:
        keep: share of visible patches.
        score: share of scored patches.
        first: share of the visible patches that is sampled by the guide.
        rounds: in which the others join.
        marks: shares of the training at which the rule begins to turn from nearest to farthest, has turned,
            begins to turn to random, and has turned.

    Raises:
        UserError: shares that leave no patch or too many, or marks that do not ascend.
    """

    keep: float = 0.15
    score: float = 0.25
    first: float = 0.5
    rounds: int = 2
    marks: tuple[float, float, float, float] = (0.35, 0.375, 0.725, 0.75)

    def __post_init__(self) -> None:
        if not (0 < self.keep < 1 and 0 < self.score < 1 and self.keep + self.score <= 1 + _SLACK):
            raise UserError(f"keep {self.keep} and score {self.score}: both above 0, together at most 1")
        if not 0 < self.first <= 1 or self.rounds < 1 or list(self.marks) != sorted(self.marks):
            raise UserError(
                f"first {self.first}, {self.rounds} rounds, marks {self.marks}: take a share above 0, at least 1 round "
                "and ascending marks"
            )

    def __call__(
        self,
        grid: tuple[int, int],
        rng: SampleRNG,
        guide: Tensor | None = None,
        tokens: Tensor | None = None,
        progress: float = 0.0,
    ) -> Mask:
        """Mask [B, N] of a grid of rows and columns; its scored patches are those to be predicted.

        Args:
            grid: rows and columns.
            rng: one stream per row.
            guide: [B, N] logits; higher is sampled rather. All alike when None.
            tokens: [B, N, D] what similarity is measured on. Without, the others join at random.
            progress: share of the training that is done.

        Raises:
            UserError: a grid too small to see and to score one patch, or another guide's or tokens' grid.
        """
        patches, rows = grid[0] * grid[1], len(rng)
        guide = torch.zeros(rows, patches) if guide is None else guide
        if tokens is None:
            tokens, progress = guide.new_ones(rows, patches, 1), self.marks[-1]
        if guide.shape != (rows, patches) or tokens.shape[:2] != guide.shape:
            raise UserError(
                f"guide {list(guide.shape)} and tokens {list(tokens.shape)} must be [{rows}, {patches}] and "
                f"[{rows}, {patches}, D]: make them for the same images on the same grid"
            )
        chosen = self.choose(guide.softmax(1), tokens, progress, self.sample(patches, rng, progress, guide.device))
        masked = torch.ones(rows, patches, dtype=torch.bool, device=guide.device).scatter(1, chosen.kept, False)
        return Mask(masked, torch.zeros_like(masked).scatter(1, chosen.scored, True))

    def sample(self, patches: int, rng: SampleRNG, progress: float, device: torch.device) -> RandomNumbers:
        """Random numbers for a grid of that many patches, one stream per row."""
        counts = self.counts(patches)
        exponential = -rng.uniform(2, patches).clamp(min=1e-12).log().to(device)
        left = [patches - before - sum(self.rule(after - before, progress)[:2]) for before, after in pairwise(counts)]
        orders = tuple(rng.uniform(size).argsort(dim=1).to(device) for size in left)
        return RandomNumbers(exponential[:, 0], exponential[:, 1, : patches - counts[-1]], orders)

    def choose(self, probabilities: Tensor, tokens: Tensor, progress: float, numbers: RandomNumbers) -> Chosen:
        """The sets for given random numbers.

        Args:
            probabilities: [B, N] of the guide.
            tokens: [B, N, D].
            progress: share of the training that is done.
            numbers: the random numbers.
        """
        counts = self.counts(probabilities.shape[1])
        order = (probabilities / numbers.first).argsort(dim=1, descending=True)
        first = kept = order[:, : counts[0]]
        rest = order[:, counts[0] :]
        for (before, after), shuffled in zip(pairwise(counts), numbers.orders, strict=True):
            rule = self.rule(after - before, progress)
            kept, rest = expanded(tokens, kept, rest, rule, shuffled, mixed=progress < self.marks[-1])
        ranking = (probabilities.gather(1, rest) / numbers.scored).argsort(dim=1, descending=True)
        return Chosen(first, kept, rest.gather(1, ranking[:, : self.predict_count(probabilities.shape[1])]))

    def counts(self, patches: int) -> list[int]:
        """How many of `patches` are seen at first and after each round."""
        seen, first = int(patches * self.keep + _SLACK), int(patches * self.keep * self.first + _SLACK)
        if first < 1 or self.predict_count(patches) < 1:
            raise UserError(
                f"{self.keep} of {patches} patches to see and {self.score} to score are too few: take at least 2 "
                "patches to see and 1 to score, with larger shares or smaller patches"
            )
        step = (seen - first) // self.rounds
        return [first + step * done for done in range(self.rounds)] + [seen]

    def predict_count(self, patches: int) -> int:
        """How many of `patches` are scored."""
        return int(patches * self.score + _SLACK)

    def rule(self, count: int, progress: float) -> tuple[int, int, int]:
        """How many of `count` new patches are the nearest, the farthest and any, at this progress."""
        turning, far, fading, loose = self.marks
        if progress < far:
            near = count if progress < turning else _part(count, (far - progress) / (far - turning))
            return near, count - near, 0
        distant = count if progress < fading else 0
        if fading <= progress < loose:
            distant = _part(count, (loose - progress) / (loose - fading))
        return 0, distant, count - distant


def expanded(
    tokens: Tensor, kept: Tensor, rest: Tensor, rule: tuple[int, int, int], shuffled: Tensor, *, mixed: bool = True
) -> tuple[Tensor, Tensor]:
    """One round: some patches go over from the rest to the kept.

    Args:
        tokens: [B, N, D].
        kept: [B, K] ids; similarity of a patch is the greatest cosine to one of these.
        rest: [B, R] the other ids.
        rule: numbers of nearest, of farthest and of random patches.
        shuffled: [B, R - nearest - farthest] permutation, of which the first are taken.
        mixed: leave the rest sorted by similarity, else shuffled. Only recorded random numbers can predict
            the difference; the released code leaves it shuffled once all new patches are random.

    Returns:
        ids [B, K + sum(rule)], new ones last, and [B, R - sum(rule)].
    """
    near, far, loose = rule
    unit = F.normalize(tokens.float(), dim=-1)
    rows = [gather_tokens(unit, ids) for ids in (rest, kept)]
    similarity = (rows[0] @ rows[1].transpose(1, 2)).amax(-1)
    rest = rest.gather(1, similarity.argsort(dim=1))
    farthest, middle, nearest = rest.tensor_split([far, rest.shape[1] - near], dim=1)
    if not loose:
        return torch.cat([kept, nearest, farthest], dim=1), middle
    left = shuffled[:, loose:].sort(dim=1).values if mixed else shuffled[:, loose:]
    return torch.cat([kept, nearest, farthest, middle.gather(1, shuffled[:, :loose])], dim=1), middle.gather(1, left)


def _part(count: int, share: float) -> int:
    return int(count * share + _SLACK)
