"""The Unicode list of emoji: names, groups, skin tones and the fixed split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mimgen.errors import UserError
from mimgen.types import mix_seed

__all__ = ["Emoji", "Tones", "assign_splits", "read_names", "skin_tones"]

TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
COMPOSE_SHARE = 0.10
VAL_SHARE = 0.05

_TONE = re.compile(r"(medium-light|medium-dark|light|medium|dark) skin tone")
_LINE = re.compile(r"^([0-9A-F ]+?)\s*;\s*fully-qualified\s*#\s*\S+\s+E\d+\.\d+\s+(.+?)\s*$")


@dataclass(frozen=True)
class Emoji:
    """One fully-qualified sequence of `emoji-test.txt`."""

    codepoints: tuple[int, ...]
    name: str
    group: str
    subgroup: str

    @property
    def text(self) -> str:
        """The characters themselves."""
        return "".join(map(chr, self.codepoints))

    @property
    def key(self) -> str:
        """Code points in hexadecimal, joined by hyphens; free of dots, as WebDataset wants."""
        return "-".join(f"{point:04x}" for point in self.codepoints)


@dataclass(frozen=True)
class Tones:
    """An emoji name taken apart: who or what is shown, and in which skin tones."""

    role: str
    tones: tuple[str, ...]


def skin_tones(name: str) -> Tones:
    """Take a name apart: "man: dark skin tone, beard" -> role "man: beard", tones ("dark",).

    A name without a skin tone is specific to it role.
    """
    head, colon, tail = name.partition(": ")
    parts = tail.split(", ") if colon else []
    matches = [_TONE.fullmatch(part) for part in parts]
    kept = [part for part, match in zip(parts, matches, strict=True) if match is None]
    role = f"{head}: {', '.join(kept)}" if kept else head
    return Tones(role, tuple(match.group(1) for match in matches if match is not None))


def read_names(path: Path) -> list[Emoji]:
    """Every fully-qualified emoji of a Unicode `emoji-test.txt`, in its order.

    Raises:
        UserError: the file is missing or holds no fully-qualified line.
    """
    if not path.is_file():
        raise UserError(f"emoji names not found: {path}; on Debian install the package unicode-data")
    group = subgroup = ""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group:"):
            group = line.partition(":")[2].strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.partition(":")[2].strip()
        elif match := _LINE.match(line):
            points = tuple(int(point, 16) for point in match.group(1).split())
            found.append(Emoji(points, match.group(2), group, subgroup))
    if not found:
        raise UserError(f"{path} holds no fully-qualified emoji; pass Unicode's emoji-test.txt")
    return found


def _unit(name: str, salt: str) -> float:
    """Hash a name to [0, 1)."""
    return mix_seed(salt, name) / 2**63


def assign_splits(emoji: Sequence[Emoji]) -> list[str]:
    """ "train", "val" or "compose" for each emoji, from a hash of its name.

    compose: about 10 % of the People & Body emoji that join a role with a skin tone; every role
    and every tone still occurs in train, joined with others, so an image of it asks for parts
    that are known and a combination that is new. val: 5 % of the rest. train: the others.
    """
    splits = []
    for item in emoji:
        joins = item.group == "People & Body" and bool(skin_tones(item.name).tones)
        if joins and _unit(item.name, "compose") < COMPOSE_SHARE:
            splits.append("compose")
        else:
            splits.append("val" if _unit(item.name, "val") < VAL_SHARE else "train")
    return _keep_parts(emoji, splits)


def _keep_parts(emoji: Sequence[Emoji], splits: list[str]) -> list[str]:
    """Give back to train one emoji of every compose role or tone that would be missing there."""
    kept = list(splits)
    parsed = [skin_tones(item.name) for item in emoji]
    members: dict[str, list[int]] = {}
    for index, tones in enumerate(parsed):
        if tones.tones:
            for part in (f"role {tones.role}", *(f"tone {tone}" for tone in tones.tones)):
                members.setdefault(part, []).append(index)
    for indices in members.values():
        if not any(kept[index] == "train" for index in indices):
            kept[max(indices, key=lambda index: _unit(emoji[index].name, "back"))] = "train"
    return kept
