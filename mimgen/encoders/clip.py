"""CLIP's text tower from transformers, as Meissonic reads it; weights come from a folder on disk."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mimgen.encoders.text import TextStates
from mimgen.errors import UserError


class ClipTextEncoder(nn.Module):
    """Captions to the penultimate hidden states and the projected pooled text (Meissonic, section 3).

    The tower is frozen; `encode` gives no gradient.

    Args:
        model: transformers' `CLIPTextModelWithProjection`.
        tokenizer: transformers' `CLIPTokenizer`; captions are cut or padded to its full length (77).
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        self.tokenizer = tokenizer
        self.width: int = model.config.hidden_size
        self.pooled_width: int = model.config.projection_dim
        self.max_words = min(tokenizer.model_max_length, model.config.max_position_embeddings)

    @property
    def device(self) -> torch.device:
        """Where the parameters are; diffusers' pipelines ask every part for it."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the parameters."""
        return self.model.dtype

    @classmethod
    def from_pretrained(cls, folder: str | Path, variant: str | None = None) -> ClipTextEncoder:
        """Load from a folder on disk, in float32; the tokenizer's files lie in it or in `tokenizer/` beside it.

        Args:
            folder: as transformers wrote it.
            variant: reads `model.<variant>.safetensors`.

        Raises:
            UserError: no such folder, another kind of model, or no tokenizer files. Nothing is downloaded.
        """
        from transformers import CLIPTextModelWithProjection, CLIPTokenizer

        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder} holds no config.json: pass a folder with a saved CLIP text encoder")
        beside, names = folder.parent / "tokenizer", ("tokenizer.json", "vocab.json")
        candidates = [
            candidate for candidate in (folder, beside) if any((candidate / name).is_file() for name in names)
        ]
        if not candidates:
            raise UserError(f"no {' or '.join(names)} in {folder} or {beside}: CLIP needs its tokenizer")
        try:
            model = CLIPTextModelWithProjection.from_pretrained(folder, local_files_only=True, variant=variant)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"{folder} does not load as a CLIP text encoder: {error}") from error
        return cls(model.float(), CLIPTokenizer.from_pretrained(candidates[0], local_files_only=True))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model and tokenizer into one folder."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    @torch.no_grad()
    def encode(self, captions: Sequence[str]) -> TextStates:
        """B captions to states [B, 77, D] (the last layer but one, no final norm) and pooled [B, P].

        Warns of a caption that is longer than the tower reads; its end is cut off.
        """
        for caption, token_ids in zip(captions, self.tokenizer(list(captions), verbose=False).input_ids, strict=True):
            if len(token_ids) > self.max_words:
                warnings.warn(
                    f"only the first {self.max_words} of {len(token_ids)} tokens (two of them mark start "
                    f"and end) are read "
                    f'of "{caption[:60]}..."',
                    stacklevel=3,  # past no_grad's wrapper
                )
        ids = self.tokenizer(
            list(captions),
            padding="max_length",
            max_length=self.max_words,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        out = self.model(ids.to(self.model.device), output_hidden_states=True)
        return TextStates(out.hidden_states[-2], out.text_embeds)
