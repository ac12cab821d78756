"""Training that begins with an earlier pipeline: the next stage, or a fine-tuning."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mimgen.bundled import find_pipeline
from mimgen.encoders import ByteTextEncoder, ClipTextEncoder
from mimgen.errors import UserError
from mimgen.generators import MeissonicTransformer
from mimgen.generators.text_sampling import RELEASED
from mimgen.part import load_strictly
from mimgen.pipelines import Preset
from mimgen.pipelines.parts import class_in, load_part
from mimgen.pipelines.released import is_released
from mimgen.pipelines.text_to_image import read_index

__all__ = ["Start", "open_text_encoder"]

NEW = ("down_block.", "up_block.")  # what a stage adds whose blocks see half of the grid (Meissonic, section 3)


@dataclass(frozen=True)
class Start:
    """The pipeline whose weights a run begins with.

    Attributes:
        folder: of the pipeline.
        compress: whether the run halves the grid inside its blocks; layers for that are new where the pipeline
            has none.
    """

    folder: Path
    compress: bool = False

    @classmethod
    def at(cls, init: str, *, compress: bool) -> Start:
        """From what the user names: "bundled", a run folder or a pipeline folder.

        Raises:
            UserError: there is none.
        """
        return cls(find_pipeline(init, "--init"), compress)

    @property
    def tokenizer(self) -> str:
        """Folder of the pipeline's tokenizer."""
        return str(self.folder / "vqvae")

    @property
    def text_folder(self) -> Path:
        """Folder of the pipeline's text encoder."""
        return self.folder / "text_encoder"

    @property
    def preset(self) -> Preset:
        """How the pipeline samples."""
        return Preset.read(RELEASED if is_released(self.folder) else read_index(self.folder))

    @cached_property
    def _config(self) -> dict[str, Any]:
        path = self.folder / "transformer" / "config.json"
        if not path.is_file():
            raise UserError(f"{path.parent} holds no config.json: the pipeline's part transformer is missing")
        return dict(json.loads(path.read_text("utf-8")))

    @property
    def compressed(self) -> bool:
        """Whether the pipeline halves the grid already."""
        return bool(self._config.get("downsample"))

    @property
    def grows(self) -> bool:
        """Whether the run has layers that the pipeline has not."""
        return self.compress and not self.compressed

    def transformer(self) -> MeissonicTransformer:
        """The pipeline's generator; where the run `grows`, with compression layers drawn at random.

        Raises:
            UserError: a weight besides those has no counterpart of its name and shape.
        """
        old: MeissonicTransformer = load_part("transformer", self.folder / "transformer")
        if not self.grows:
            return old
        grown = MeissonicTransformer(**{**old.config, "downsample": True, "upsample": True})
        fresh = {name: value for name, value in grown.state_dict().items() if name.startswith(NEW)}
        load_strictly(grown, {**fresh, **old.state_dict()}, str(self.folder))
        return grown

    def says(self) -> str:
        """One line on what is carried over and what is new."""
        new = f"; new, drawn at random: {', '.join(name.rstrip('.') for name in NEW)}" if self.grows else ""
        return f"starting with the weights of {self.folder}{new}"


def open_text_encoder(folder: Path) -> ByteTextEncoder | ClipTextEncoder:
    """The text encoder in a folder of its own: one of ours, or CLIP's.

    Raises:
        UserError: there is none.
    """
    ours = (folder / "config.json").is_file() and class_in(folder) == "ByteTextEncoder"
    return ByteTextEncoder.from_pretrained(folder) if ours else ClipTextEncoder.from_pretrained(folder)
