"""What a release of masked image modelling holds: an encoder, and parts that only pretraining needs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from mimgen.pretrained import PretrainedModule, load_pretrained

__all__ = ["OfficialModel"]


class OfficialModel(nn.Module):
    """An encoder and what else came with it.

    Args:
        encoder: what is probed and fine-tuned.
        decoder: of the network in pretraining; None where the release has none.
        others: further parts by name, or lists of them; None for one that the release has not.
    """

    def __init__(
        self,
        encoder: PretrainedModule,
        decoder: PretrainedModule | None = None,
        **others: PretrainedModule | list[PretrainedModule] | None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        for name, part in others.items():
            setattr(self, name, nn.ModuleList(part) if isinstance(part, list) else part)

    def save_pretrained(self, folder: Path, **options: Any) -> None:
        """Write the encoder to `folder`, every other part to the subfolder of its name.

        Parts of a list have their number after the name: decoders_0, decoders_1, ... The options are those of
        `PretrainedModule.save_pretrained`.
        """
        self.encoder.save_pretrained(folder, **options)
        for name, found in self.named_children():
            if isinstance(found, nn.ModuleList):
                for number, part in enumerate(found):
                    assert isinstance(part, PretrainedModule)
                    part.save_pretrained(Path(folder) / f"{name}_{number}", **options)
            elif isinstance(found, PretrainedModule) and name != "encoder":
                found.save_pretrained(Path(folder) / name, **options)

    @classmethod
    def from_pretrained(cls, folder: Path, parts: Iterable[str]) -> OfficialModel:
        """Load what `save_pretrained` wrote.

        Args:
            folder: of the encoder.
            parts: names of the others that there may be.
        """
        others: dict[str, Any] = {}
        for name in parts:
            listed = sorted(folder.glob(f"{name}_[0-9]*"), key=lambda path: int(path.name.rpartition("_")[2]))
            if (folder / name / "config.json").is_file():
                others[name] = load_pretrained(folder / name, role=name)
            elif listed:
                others[name] = [load_pretrained(path, role=name) for path in listed]
        return cls(load_pretrained(folder), **others)
