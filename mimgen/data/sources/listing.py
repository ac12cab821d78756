"""What a source of images holds, before anything is decoded."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mimgen.data.memory import SCORE
from mimgen.errors import UserError
from mimgen.types import mix_seed

__all__ = ["Listing", "complete_scores", "digest", "score_of"]

VAL_SHARE = 0.05


@dataclass(frozen=True)
class Listing:
    """The contents of a folder, of shards or of a table.

    Attributes:
        name: what the user called it.
        keys: one name an image.
        captions: one string per image, empty where there is none.
        read: the bytes of the image file of an index.
        digest: hash of the contents.
        labels: named class ids, one per image.
        label_names: the class names of every label set.
        scores: preference or aesthetic score of each image, where the source has them.
    """

    name: str
    keys: Sequence[str]
    captions: list[str]
    read: Callable[[int], bytes]
    digest: str
    labels: Mapping[str, list[int]] = field(default_factory=dict)
    label_names: dict[str, list[str]] = field(default_factory=dict)
    scores: Sequence[float] | None = None

    def select(self, indices: Sequence[int], name: str) -> Listing:
        """The images `indices` under a name of their own."""
        return replace(
            self,
            name=name,
            keys=[self.keys[index] for index in indices],
            captions=[self.captions[index] for index in indices],
            read=lambda index: self.read(indices[index]),
            digest=digest([self.digest, name]),
            labels={kind: [ids[index] for index in indices] for kind, ids in self.labels.items()},
            scores=None if self.scores is None else [self.scores[index] for index in indices],
        )

    def split(self, split: str | None) -> Listing:
        """ "val" is the 5 % of images whose key hashes lowest, at least one; "train" the others.

        Raises:
            UserError: another split than train, val or all, or one image to be divided.
        """
        if split in (None, "all"):
            return self
        if split not in ("train", "val"):
            raise UserError(f"{self.name} has no split {split!r}; own data has train, val and all")
        if len(self.keys) < 2:
            raise UserError(f"{self.name} holds one image, which cannot be split; use split all")
        hashes = [mix_seed("val", key) / 2**63 for key in self.keys]
        # In a set so small that none falls below the threshold, the lowest one is taken.
        threshold = max(VAL_SHARE, min(hashes))
        in_val = [value < VAL_SHARE or value == threshold for value in hashes]
        chosen = [index for index, inside in enumerate(in_val) if inside == (split == "val")]
        return self.select(chosen, f"{self.name}/{split}")


def digest(parts: Iterable[object]) -> str:
    """16 hexadecimal digits that stand for a list of values."""
    running = hashlib.sha256()
    for part in parts:
        running.update(f"{part}\0".encode(errors="surrogateescape"))
    return running.hexdigest()[:16]


def score_of(facts: Mapping[str, object], where: str) -> float | None:
    """The number under "score" in what is known of an image; None where there is none.

    Raises:
        UserError: it is there and no number.
    """
    score = facts.get("score")
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise UserError(f"{where}: the score is {score!r}; give a number, such as 6.5, or leave it out")
    return float(score)


def complete_scores(scores: Sequence[float | None]) -> list[float] | None:
    """Scores of which some may be missing, with the usual one in their place; None where all are missing."""
    if all(score is None for score in scores):
        return None
    return [SCORE if score is None else score for score in scores]
