"""From what the user calls a model to a loaded pipeline or tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from mimgen.bundled import pipeline_folder
from mimgen.errors import UserError

if TYPE_CHECKING:
    from mimgen.pipelines import TextToImage

__all__ = ["BUNDLED", "find_pipeline", "open_pipeline"]

BUNDLED = "bundled"


def find_pipeline(model: str) -> Path:
    """The pipeline folder meant by `model`: "bundled", a pipeline folder, or a run folder.

    Raises:
        UserError: there is none; the message says what was looked for.
    """
    if model == BUNDLED:
        if (pipeline_folder() / "model_index.json").is_file():
            return pipeline_folder()
        raise UserError(
            "this installation has no bundled pipeline; train one with `mimgen quickstart` and pass "
            "--model runs/quickstart"
        )
    root = Path(model)
    for place in (root, root / "pipeline"):
        if (place / "model_index.json").is_file():
            return place
    if not root.exists():
        raise UserError(f"no such folder: {root}; --model takes a run folder, a pipeline folder or {BUNDLED!r}")
    raise UserError(
        f"{root} holds no pipeline (no model_index.json there or in {root / 'pipeline'}); "
        "a run of `mimgen train meissonic` writes one when it ends"
    )


def open_pipeline(model: str) -> TextToImage:
    """Load the pipeline meant by `model` onto the best device."""
    folder = find_pipeline(model)

    import torch

    from mimgen.pipelines import TextToImage

    pipeline = TextToImage.load(folder)
    if torch.cuda.is_available():
        for part in (pipeline.transformer, pipeline.vqvae, pipeline.text_encoder):
            cast(torch.nn.Module, part).to("cuda")
    return pipeline
