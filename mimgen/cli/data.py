"""`mimgen data show | doctor | cache-codes | cache-text | emoji`: look at a dataset, prepare it, build emoji."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from mimgen.cli.options import parse
from mimgen.errors import choose

if TYPE_CHECKING:
    from mimgen.data import Dataset

__all__ = ["main"]

USAGE = """usage: mimgen data show SPEC [--size 64] [--split train] [--out sheet.png]
       mimgen data doctor [--tokenizer T] --data SPEC [--out REPORT]
       mimgen data cache-codes --tokenizer T --data SPEC --out FOLDER [--size 64]
       mimgen data cache-text --encoder E --data SPEC --out FOLDER
       mimgen data emoji --font NotoColorEmoji.ttf --names emoji-test.txt --size 64 --out FOLDER

  show         open a dataset as training would: how many images, captions, labels; a contact sheet
  doctor       does a tokenizer fit these images? asked before a generator is trained on its codes
  cache-codes  keep every image's codes on disk, mirrored ones too: mimgen train meissonic --codes FOLDER
  cache-text   keep every caption's text states on disk: mimgen train meissonic --text-states FOLDER
  emoji        render the emoji set from a font (Debian: fonts-noto-color-emoji, unicode-data)

SPEC is emoji, photos, a folder with metadata.jsonl or .txt captions, a folder per class,
shards such as 'images-{000..099}.tar', a saved Hugging Face dataset or a .parquet file."""

COMMANDS = ("show", "doctor", "cache-codes", "cache-text", "emoji")


@dataclass(frozen=True)
class Show:
    """Open a dataset as training would and say what is in it.

    Attributes:
        spec: emoji, photos, a folder, shards, a saved dataset or a parquet file.
        size: side in pixels to which images are brought.
        split: a part of the data, for example train, val or compose of emoji.
        out: also write the first 64 images to this file, as one contact sheet.
    """

    spec: tyro.conf.Positional[str]
    size: int = 64
    split: str | None = None
    out: Path | None = None


@dataclass(frozen=True)
class Emoji:
    """Render the emoji set into .tar shards.

    Attributes:
        font: the colour font, for example /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf.
        names: Unicode's list, for example /usr/share/unicode/emoji/emoji-test.txt.
        out: folder for the shards.
        size: side in pixels.
    """

    font: Path
    names: Path
    out: Path
    size: int = 64


def main(arguments: list[str]) -> int:
    """Run the sub-command named first."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    name, *rest = arguments
    choose(name, COMMANDS, "data command")
    if name == "doctor":
        from mimgen.cli import data_doctor

        return data_doctor.main(rest)
    if name == "cache-codes":
        from mimgen.cli import data_codes

        return data_codes.main(rest)
    if name == "cache-text":
        from mimgen.cli import data_text

        return data_text.main(rest)
    return _show(rest) if name == "show" else _emoji(rest)


def _show(arguments: list[str]) -> int:
    options = parse(Show, arguments, "mimgen data show")

    from mimgen.data import Dataset, open_data

    dataset = open_data(options.spec, size=options.size, split=options.split)
    if not isinstance(dataset, Dataset):
        print(f"{dataset.name}: streamed from front to back, fingerprint {dataset.fingerprint}")
        return 0
    _describe(dataset)
    if options.out is not None:
        _sheet(dataset, options.out)
        print(f"contact sheet: {options.out}")
    return 0


def _describe(dataset: Dataset) -> None:
    captions = [caption for caption in dataset.captions if caption]
    print(f"{dataset.name}: {len(dataset)} images, {len(captions)} with captions")
    print(f"fingerprint: {dataset.fingerprint}")
    for name, classes in dataset.label_names.items():
        print(f"label {name}: {len(classes)} classes ({_some(classes)})")
    if captions:
        words = Counter(len(caption.split()) for caption in captions)
        print(f"words per caption: {min(words)} to {max(words)}")
        step = max(1, len(captions) // 5)
        for caption in captions[::step][:5]:
            print(f"  {caption[:100]}")


def _some(values: list[str]) -> str:
    shown = ", ".join(map(str, values[:5]))
    return f"{shown}, ..." if len(values) > 5 else shown


def _sheet(dataset: Dataset, path: Path) -> None:
    from PIL import Image

    images: list[Any] = [dataset[index].image.permute(1, 2, 0).numpy() for index in range(min(64, len(dataset)))]
    side = images[0].shape[0]
    sheet = Image.new("RGB", (8 * side, -(-len(images) // 8) * side), "white")
    for position, image in enumerate(images):
        sheet.paste(Image.fromarray(image), (position % 8 * side, position // 8 * side))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _emoji(arguments: list[str]) -> int:
    options = parse(Emoji, arguments, "mimgen data emoji")

    from mimgen.data import build_emoji

    summary = build_emoji(options.font, options.names, options.size, options.out)
    parts = ", ".join(f"{count} {split}" for split, count in summary.splits.items())
    print(f"{summary.count} emoji ({parts}) in {len(summary.shards)} shards, {summary.size / 1e6:.1f} MB")
    for shard in summary.shards:
        print(f"  {shard}")
    return 0
