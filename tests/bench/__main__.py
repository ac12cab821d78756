"""`python -m tests.bench NAME [options]`: ratios of time, memory and operations beside other libraries."""

from __future__ import annotations

import importlib
import sys

from mimgen.errors import UserError, choose

USAGE = """usage: python -m tests.bench generate | generate-step | tokenizer | probe | pretrain | against [options]

  generate       an image of Meissonic with each saving alone and with all: time, memory, operations, quality
  generate-step  a training step of Meissonic against the same model in diffusers' blocks: time, memory, loss
  tokenizer      entropy of binary codes, search in a codebook, token merging: time and memory
  probe          many probe settings at once against one by one, nearest neighbours, attentive poolings
  pretrain       a training step of MAE and SimMIM against lightly's, and supervised with timm: time, memory, loss
  against        this checkout of mimgen beside another one: an image from the command line, training steps, sampling"""

NAMES = ("generate", "generate-step", "tokenizer", "probe", "pretrain", "against")


def main(arguments: list[str]) -> int:
    """Run the benchmark named first; 2 is the exit status of a user's mistake."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    name, *rest = arguments
    try:
        module = choose(name, list(NAMES), "benchmark").replace("-", "_")
        status: int = importlib.import_module(f"tests.bench.{module}").main(rest)
    except UserError as error:
        print(f"tests.bench: error: {error}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
