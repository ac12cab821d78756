"""Does an image show what its caption says? Checked exactly on the scene set, without any model.

The six kinds of caption and the way of scoring are GenEval's (Ghosh et al. 2023, arXiv 2310.11513):
an image is right or wrong, each kind has its share of right ones, and the score is the mean of the
kinds. GenEval finds objects with a detector; here they are read from the pixels (`scene_reader`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mimgen.data.builtin.scene_claims import CATEGORIES, Claim, read_caption
from mimgen.errors import UserError
from mimgen.evaluation.scene_reader import DetectedObject, read_scenes

__all__ = ["ERROR_TYPES", "SceneCheck", "check_scene", "evaluate_scenes", "verify_scenes"]

# what can be wrong, in the order in which it is looked for
ERROR_TYPES = ("number", "shape", "colour", "binding", "position")


@dataclass(frozen=True)
class SceneCheck:
    """Whether an image shows what its claim says.

    Attributes:
        claim: what it must show.
        detected: what it shows.
        error: None where it is right, else the first of `ERROR_TYPES` found: a wrong number of objects,
            wrong shapes, wrong colours, right shapes and colours on the wrong objects, or a wrong
            place.
    """

    claim: Claim
    detected: tuple[DetectedObject, ...]
    error: str | None

    @property
    def right(self) -> bool:
        """Whether nothing is wrong."""
        return self.error is None


def check_scene(claim: Claim, detected: Sequence[DetectedObject]) -> SceneCheck:
    """Compare what was claimed with what was seen; everything claimed must be there, and nothing else."""
    return SceneCheck(claim, tuple(detected), _error(claim, detected))


def verify_scenes(images: Tensor, captions: Sequence[str]) -> list[SceneCheck]:
    """One verdict per image.

    Args:
        images: [n, 3, S, S] in [0, 1].
        captions: n captions of the scene set.

    Raises:
        UserError: their numbers differ, a caption is of another data set, or the images are not images.
    """
    if len(images) != len(captions) or not len(captions):
        raise UserError(
            f"scenes: {len(images)} images and {len(captions)} captions; give one caption per image"
        )
    claims = [read_caption(caption) for caption in captions]
    return [check_scene(claim, detected) for claim, detected in zip(claims, read_scenes(images), strict=True)]


def evaluate_scenes(checks: Sequence[SceneCheck]) -> dict[str, Any]:
    """Sum up verdicts as GenEval does.

    Returns:
        JSON: `scores` (each kind of caption: share that is right with its 95 % Wilson interval, and
        "overall", the mean of the kinds present), `counts` (images of each kind), `faults` (how
        often each was the first one found, by kind).

    Raises:
        UserError: there are no verdicts.
    """
    if not checks:
        raise UserError("scenes: there is no image to score")
    by_kind = {kind: [v for v in checks if v.claim.category == kind] for kind in CATEGORIES}
    present = {kind: group for kind, group in by_kind.items() if group}
    shares = {kind: _share(v.right for v in group) for kind, group in present.items()}
    overall = sum(share["mean"] for share in shares.values()) / len(shares)
    return {
        "scores": {"overall": overall, **shares},
        "counts": {kind: len(group) for kind, group in present.items()},
        "errors": {kind: dict(Counter(v.error for v in group if v.error)) for kind, group in present.items()},
        "n": len(checks),
    }


def _error(claim: Claim, detected: Sequence[DetectedObject]) -> str | None:
    wanted = [(part.shape, part.colour) for part in claim.parts for _ in range(part.count)]
    shown = [(thing.shape, thing.colour) for thing in detected]
    if len(shown) != len(wanted):
        return "number"
    if Counter(shape for shape, _ in shown) != Counter(shape for shape, _ in wanted):
        return "shape"
    if any(colour is None for _, colour in wanted):  # no colour is claimed, here of all parts
        return None
    if Counter(colour for _, colour in shown) != Counter(colour for _, colour in wanted):
        return "colour"
    if Counter(shown) != Counter(wanted):
        return "binding"
    if claim.relation is None:
        return None
    first, second = (next(thing for thing in detected if (thing.shape, thing.colour) == pair) for pair in wanted)
    return None if _relation(first, second) == claim.relation else "position"


def _relation(first: DetectedObject, second: DetectedObject) -> str:
    """Where the first lies as seen from the second, along the axis on which they are further apart."""
    right, down = first.x - second.x, first.y - second.y
    if abs(right) > abs(down):
        return "right of" if right > 0 else "left of"
    return "below" if down > 0 else "above"


def _share(outcomes: Iterable[bool]) -> dict[str, float]:
    """Share of true outcomes with Wilson's interval (1927), which holds at 0 % and 100 % too."""
    rights = [float(right) for right in outcomes]
    n, p, z = len(rights), sum(rights) / len(rights), 1.959964
    centre, half = p + z * z / (2 * n), z * ((p * (1 - p) + z * z / (4 * n)) / n) ** 0.5
    low, high = ((centre + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return {"mean": p, "low": min(p, low), "high": max(p, high)}
