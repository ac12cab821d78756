"""Training that begins with an earlier pipeline: the next stage, or a fine-tuning."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mimgen.encoders import ByteTextEncoder, CachedText, ClipTextEncoder
from mimgen.errors import UserError
from mimgen.generators import MeissonicTransformer
from mimgen.generators.meissonic.predictor import RELEASED
from mimgen.pipelines import Preset
from mimgen.pipelines.folders import find_pipeline, read_index
from mimgen.pipelines.parts import load_part
from mimgen.pipelines.released import is_released
from mimgen.pretrained import class_of, load_strictly
from mimgen.training.lora import Layers, Lora

__all__ = ["InitFrom", "adapters", "open_frozen", "open_text_encoder"]

NEW = ("down_block.", "up_block.")  # what a stage adds whose blocks see half of the grid (Meissonic, section 3)


@dataclass(frozen=True)
class InitFrom:
    """The pipeline whose weights a run begins with.

    Attributes:
        folder: of the pipeline.
        compress: whether the run halves the grid inside its blocks; layers for that are new where the pipeline
            has none.
    """

    folder: Path
    compress: bool = False

    @classmethod
    def at(cls, init: str, *, compress: bool) -> InitFrom:
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
    def text_frozen(self) -> bool:
        """Whether the text encoder is one that is never trained: another than our small one."""
        return not _is_ours(self.text_folder)

    @property
    def preset(self) -> Preset:
        """How the pipeline samples; its clock is that of its own training, not of one that resumes from it."""
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
        """The pipeline's generator; where the run `grows`, with compression layers sampled at random.

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

    def summary(self) -> str:
        """One line on what is carried over and what is new."""
        new = f"; new, sampled at random: {', '.join(name.rstrip('.') for name in NEW)}" if self.grows else ""
        return f"starting with the weights of {self.folder}{new}"


def adapters(init_from: InitFrom | None, rank: int | None, alpha: float | None, layers: Layers) -> Lora | None:
    """The adapters that a run trains in the place of the weights of its start; None without a rank.

    Raises:
        UserError: there are no weights to begin with, or a part of them would be new.
    """
    if rank is None:
        return None
    if init_from is None:
        raise UserError("--lora trains adapters on weights that are there: pass --init, such as --init bundled")
    if init_from.grows:
        raise UserError(
            f"compression would be new to {init_from.folder}, and adapters cannot learn it: choose a --size "
            f"without it, "
            "or train without --lora"
        )
    return Lora(rank, alpha, layers)


def open_text_encoder(folder: Path) -> ByteTextEncoder | ClipTextEncoder:
    """The text encoder in a folder of its own: one of ours, or CLIP's.

    Raises:
        UserError: there is none.
    """
    return ByteTextEncoder.from_pretrained(folder) if _is_ours(folder) else ClipTextEncoder.from_pretrained(folder)


def open_frozen(folder: Path, text_states: str | None = None) -> ByteTextEncoder | ClipTextEncoder | CachedText:
    """The text encoder in a folder, not to be trained.

    Args:
        folder: of the text encoder.
        text_states: folder of `mimgen data cache-text`, which is then read in its place.

    Raises:
        UserError: there is none, or the states are of another one.
    """
    if text_states is not None:
        return CachedText.open(text_states, folder)
    encoder = open_text_encoder(folder)
    encoder.requires_grad_(False).eval()
    return encoder


def _is_ours(folder: Path) -> bool:
    return (folder / "config.json").is_file() and class_of(folder) is ByteTextEncoder
