"""`mimgen data cache-text`: every caption's text states, kept on disk."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from mimgen.cli.options import parse
from mimgen.errors import UserError
from mimgen.pipelines.open import BUNDLED, find_pipeline
from mimgen.report.run_folder import writable

__all__ = ["main"]


@dataclass(frozen=True)
class Arguments:
    """Encode every caption that training reads, and the empty one, once, and keep the states on disk.

    The text encoder is then not needed in memory while a generator trains. Interrupted, the same command resumes
    where it stopped. The folder fits this encoder only, and is refused for others.

    Attributes:
        encoder: folder of the text encoder (CLIP's, as transformers wrote it), or of a pipeline that has one.
        out: folder for the states; pass it to `mimgen train meissonic --text-states`.
        data: the images; see `mimgen data show`.
        batch_size: captions at a time.
        precision: of the numbers on disk: fp16, 160 kB a caption of CLIP ViT-H, or fp32.
    """

    encoder: str
    out: Path
    data: str = "emoji"
    batch_size: int = 64
    precision: Literal["fp16", "fp32"] = "fp16"


def main(arguments: list[str]) -> int:
    """Fill the folder and say how to use it."""
    options = parse(Arguments, arguments, "mimgen data cache-text")
    if options.batch_size < 1:
        raise UserError(f"--batch-size {options.batch_size}: at least one caption at a time")

    import torch
    from torch import nn

    from mimgen.data import Dataset
    from mimgen.encoders.text_cache import cache_text, encoder_hash
    from mimgen.recipes import DataConfig, open_text_encoder

    dataset = DataConfig(options.data).open()
    if not isinstance(dataset, Dataset):
        raise UserError(f"{options.data} is a stream; text states are kept for data on disk")
    folder = _folder(options.encoder)
    encoder, key = open_text_encoder(folder), encoder_hash(folder)
    cast(nn.Module, encoder).to("cuda" if torch.cuda.is_available() else "cpu").eval()
    writable(options.out)
    cache_text(options.out, dataset.captions, encoder, key, batch_size=options.batch_size,
               precision=options.precision, on_batch=_print_progress)  # fmt: skip
    named = options.encoder if options.encoder == BUNDLED or folder != Path(options.encoder) else ""
    flags = f"--init {named} --lora 8" if named else f"--clip {folder}"
    print(
        f"text states of {len(set(dataset.captions) | {''})} captions: {options.out}/\n"
        f"Train on them:\n  mimgen train meissonic {flags} --data {options.data} --text-states {options.out}"
    )
    return 0


def _folder(encoder: str) -> Path:
    """The folder of the text encoder meant: its own, or that of a pipeline's."""
    root = Path(encoder)
    if encoder != BUNDLED and (root / "config.json").is_file():
        return root
    return find_pipeline(encoder, "--encoder") / "text_encoder"


def _print_progress(done: int, total: int) -> None:
    """Progress on one line of the terminal; silent elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} of {total} captions" + ("\n" if done == total else ""))
