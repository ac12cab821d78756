"""Render the emoji of a colour font into WebDataset shards: `mimgen data emoji`."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mimgen.data.builtin.emoji_names import Emoji, assign_splits, read_names
from mimgen.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

__all__ = ["Summary", "build_emoji"]

NOTICE = Path(__file__).parents[1] / "assets" / "emoji-64" / "OFL.txt"
SHARD_BYTES = 9_500_000
# Noto Color Emoji holds its bitmaps at this one size: 136 x 128 pixels for 109 pixels an em.
STRIKE = 109
BLOCK = 512


@dataclass(frozen=True)
class Summary:
    """What `build_emoji` wrote.

    Attributes:
        count: number of emoji.
        splits: number of emoji in each split.
        shards: the files, in order.
        size: bytes of all shards together.
    """

    count: int
    splits: dict[str, int]
    shards: tuple[Path, ...]
    size: int


def build_emoji(font: Path, names: Path, size: int, out: Path) -> Summary:
    """Render every fully-qualified emoji of `names` with `font` into shards under `out`.

    A shard `emoji-NNN.tar` holds `key.webp` (lossless, size x size, on white) and `key.json`
    (caption, group, subgroup, codepoints, split) of each emoji and is at most 10 MB. The same
    inputs give the same bytes, with the same version of Pillow.

    Raises:
        UserError: a file is missing or unfit, or an emoji is not one glyph of the font.
    """
    if size < 8:
        raise UserError(f"--size {size}: emoji need at least 8 pixels; pass 64 or 128")
    emoji = read_names(names)
    splits = assign_splits(emoji)
    face = _open_font(font)
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("emoji-*.tar"):
        old.unlink()
    shards = _write_shards(_members(emoji, splits, face, size), out)
    (out / "OFL.txt").write_bytes(NOTICE.read_bytes())
    total = sum(shard.stat().st_size for shard in shards)
    return Summary(len(emoji), dict(Counter(splits)), tuple(shards), total)


def _open_font(path: Path) -> FreeTypeFont:
    from PIL import ImageFont, features

    if not path.is_file():
        raise UserError(f"font not found: {path}; on Debian install fonts-noto-color-emoji")
    if not features.check("raqm"):
        raise UserError("this Pillow lacks raqm, which joins emoji sequences; pip install -U Pillow")
    try:
        return ImageFont.truetype(str(path), STRIKE, layout_engine=ImageFont.Layout.RAQM)
    except OSError as error:
        raise UserError(f"{path} has no {STRIKE}-pixel bitmaps ({error}); pass NotoColorEmoji.ttf") from error


def render(text: str, face: FreeTypeFont, size: int) -> Image:
    """One emoji, centred on a white square and reduced to size x size.

    Raises:
        UserError: the font does not join `text` to a single glyph, or samples nothing.
    """
    from PIL import Image, ImageDraw

    _, _, width, height = (round(edge) for edge in face.getbbox(text))
    side = round(face.getlength("\N{GRINNING FACE}"))
    if round(face.getlength(text)) != side:
        raise UserError(f"{face.getname()[0]} does not sample {text!r} as one glyph; use a newer font")
    canvas = Image.new("RGB", (side, side), "white")
    corner = ((side - width) // 2, (side - height) // 2)
    ImageDraw.Draw(canvas).text(corner, text, font=face, embedded_color=True)
    if len(canvas.getcolors(side * side) or []) == 1:
        raise UserError(f"{face.getname()[0]} samples nothing for {text!r}; use a newer font")
    return canvas.resize((size, size), Image.Resampling.LANCZOS)


def _members(
    emoji: Sequence[Emoji], splits: Sequence[str], face: FreeTypeFont, size: int
) -> Iterable[tuple[str, bytes, bytes]]:
    """(key, image, JSON) of every emoji."""
    for item, split in zip(emoji, splits, strict=True):
        image = io.BytesIO()
        render(item.text, face, size).save(image, "WEBP", lossless=True, quality=60, method=4)
        facts = {
            "caption": item.name,
            "group": item.group,
            "subgroup": item.subgroup,
            "codepoints": [f"U+{point:04X}" for point in item.codepoints],
            "split": split,
        }
        yield item.key, image.getvalue(), json.dumps(facts, ensure_ascii=False).encode()


def _write_shards(members: Iterable[tuple[str, bytes, bytes]], out: Path) -> list[Path]:
    """Write tar files of at most `SHARD_BYTES`."""
    shards: list[list[tuple[str, bytes]]] = [[]]
    held = 0
    for key, image, facts in members:
        if held + len(image) + len(facts) + 4 * BLOCK > SHARD_BYTES:
            shards.append([])
            held = 0
        shards[-1] += [(f"{key}.json", facts), (f"{key}.webp", image)]
        # Each member is a header block and its content filled up to whole blocks.
        held += sum(BLOCK - (-len(content) // BLOCK) * BLOCK for content in (facts, image))
    return [_write_shard(out / f"emoji-{i:03d}.tar", content) for i, content in enumerate(shards)]


def _write_shard(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            # A fresh TarInfo has time, user and group 0, which keeps the bytes reproducible.
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path
