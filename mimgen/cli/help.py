"""`mimgen --help`: what a newcomer reads first. Imports nothing heavy: it answers at once."""

from __future__ import annotations

from mimgen import __version__

__all__ = ["COMMANDS", "main", "text"]

COMMANDS = {
    "quickstart": "train a tokenizer and a generator from nothing, make images, write a report",
    "generate": "make images from prompts",
    "train": "train one named system, on the built-in emoji or on your images",
    "evaluate": "measure a trained model: reconstruction, composition, FID, scenes; compare results",
    "probe": "read labels off a frozen encoder: linear, k-NN, attentive, few images, fine-tuning",
    "gallery": "images of what masks cover, and of what a pretraining run tells and attends to",
    "analyse": "what an encoder attends to: attention, frequencies, ranks, layer by layer",
    "data": "look at a dataset, check a tokenizer on it, keep its codes on disk, build the emoji set",
    "convert": "turn an official release into a folder that mimgen loads",
    "systems": "list the published systems and what exists of each",
    "compare": "compare systems trained with equal budgets, and test the hypotheses of their papers",
    "bench": "time training steps of a config on this machine",
}

_TEXT = """mimgen {version}: train masked image models and make images from text.

usage: mimgen COMMAND [options]        mimgen COMMAND --help explains one command

{commands}

Start here
  mimgen quickstart                                    about 11 minutes on two processor cores
  mimgen generate "woman astronaut: dark skin tone" --out a.png

With your own images (a folder with captions, a folder per class, .tar shards, a saved dataset)
  mimgen data show my_pictures/                        does mimgen read them as you meant?
  mimgen data doctor --data my_pictures/               does the tokenizer fit them?
  mimgen train meissonic --data my_pictures/ --out runs/mine
  mimgen generate "a prompt" --model runs/mine/pipeline --out b.png

Errors are one line that names the fix; MIMGEN_TRACEBACK=1 shows where they arose.
"""


def text() -> str:
    """The whole help text."""
    width = max(map(len, COMMANDS))
    rows = [f"  {name.ljust(width)}  {summary}" for name, summary in COMMANDS.items()]
    return _TEXT.format(version=__version__, commands="\n".join(rows))


def main(arguments: list[str]) -> int:
    """Print the help text; `arguments` are ignored."""
    print(text(), end="")
    return 0
