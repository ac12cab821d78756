"""Where the pretrained pipeline inside the package lies."""

from __future__ import annotations

from pathlib import Path

__all__ = ["BUNDLED", "pipeline_folder"]

BUNDLED = "bundled"


def pipeline_folder() -> Path:
    """The folder of the pipeline trained on the embedded emoji (64 px); its README.md is the model card."""
    return Path(__file__).parent / "assets" / "emoji-64"
