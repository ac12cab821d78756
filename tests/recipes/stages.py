"""What the tests of a generator's runs share: images, a tokenizer, and runs of seconds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mimgen import configs
from mimgen.pipelines import TextToImagePipeline
from mimgen.recipes import TrainGenerator
from mimgen.tokenizers import ConvTokenizer


def stage_folder(root: Path) -> Path:
    """Images of several shapes with captions and scores, and a tokenizer."""
    (root / "data").mkdir()
    noise, rows = torch.Generator().manual_seed(0), []
    for number in range(8):
        height, width = ((32, 32), (24, 40), (40, 24), (32, 32))[number % 4]
        pixels = torch.randint(0, 256, (height, width, 3), generator=noise, dtype=torch.uint8).numpy()
        Image.fromarray(pixels).save(root / "data" / f"{number}.png")
        rows.append({"file_name": f"{number}.png", "text": f"image {number}", "score": 4.0 + number / 4})
    (root / "data" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    torch.manual_seed(0)
    ConvTokenizer(8, (1,), 1, 4, quantizer="fsq", levels=(4, 4)).eval().save_pretrained(root / "tokenizer")
    return root


def training(folder: Path, size: str, steps: int = 1, **changes: Any) -> TrainGenerator:
    """A run on the images of `stage_folder`."""
    arguments = {"data": str(folder / "data"), "precision": "fp32", "tracker": "none", "batch_size": 4, **changes}
    run = configs.experiment("meissonic")(size=size, steps=steps, **arguments)
    assert isinstance(run, TrainGenerator)
    return replace(run, settings=replace(run.settings, sample_every=100, save_every=1, ema=0.0))


def weights(run: Path) -> dict[str, Tensor]:
    """Those of the transformer that a run left."""
    return dict(TextToImagePipeline.load(run / "pipeline").transformer.state_dict())
