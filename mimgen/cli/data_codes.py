"""`mimgen data cache-codes`: every image's codes, kept on disk."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from mimgen.bundled import pipeline_folder
from mimgen.cli.options import parse
from mimgen.errors import UserError
from mimgen.pipelines.open import BUNDLED, open_tokenizer
from mimgen.report.run_folder import writable

__all__ = ["main"]


@dataclass(frozen=True)
class Arguments:
    """Encode every image that training reads, and its mirror image, once, and keep the codes on disk.

    Interrupted, the same command resumes where it stopped. The folder fits these images at this size under
    these weights only, and is refused for others.

    Attributes:
        tokenizer: "bundled", a run folder, a pipeline folder, or the folder of a tokenizer.
        out: folder for the codes; pass it to `mimgen train meissonic --codes`.
        data: the images; see `mimgen data show`.
        size: side of the images; by default the one at which the tokenizer was trained.
        batch_size: images at a time.
    """

    tokenizer: str
    out: Path
    data: str = "emoji"
    size: int | None = None
    batch_size: int = 64


def main(arguments: list[str]) -> int:
    """Fill the folder and say how to use it."""
    options = parse(Arguments, arguments, "mimgen data cache-codes")
    if options.batch_size < 1:
        raise UserError(f"--batch-size {options.batch_size}: at least one image at a time")

    from torch import nn

    from mimgen.data import Dataset
    from mimgen.data.cache.codes import key_of
    from mimgen.data.cache.codes_folder import cache_codes
    from mimgen.pipelines.parts import token_grid
    from mimgen.recipes import DataConfig, encoder_of

    tokenizer, size = open_tokenizer(options.tokenizer, options.size, "--size", named="--tokenizer")
    rows, columns = token_grid(tokenizer, size, size)
    dataset = DataConfig(options.data, size).open()
    if not isinstance(dataset, Dataset):
        raise UserError(f"{options.data} is a stream; codes are kept for data on disk")
    writable(options.out)
    key = key_of(dataset, size, cast(nn.Module, tokenizer))
    cache_codes(
        options.out,
        dataset,
        encoder_of(tokenizer),
        key,
        batch_size=options.batch_size,
        on_batch=_print_progress,
    )
    folder = pipeline_folder() if options.tokenizer == BUNDLED else options.tokenizer
    print(
        f"codes of {len(dataset)} images, {rows} x {columns} each and mirrored: {options.out}/\n"
        f"Train on them:\n  mimgen train meissonic --tokenizer {folder} --data {options.data} --pixels {size} "
        f"--codes {options.out}"
    )
    return 0


def _print_progress(done: int, total: int) -> None:
    """Progress on one line of the terminal; silent elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} of {total} images" + ("\n" if done == total else ""))
