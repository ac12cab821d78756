"""What a release of masked image modelling holds: an encoder, and parts that only pretraining needs."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from mimgen.pretrained import PretrainedModule


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

    def save_pretrained(self, folder: Path) -> None:
        """Write the encoder to `folder`, every other part to the subfolder of its name.

        Parts of a list have their number after the name: decoders_0, decoders_1, ...
        """
        self.encoder.save_pretrained(folder)
        for name, found in self.named_children():
            if isinstance(found, nn.ModuleList):
                for number, part in enumerate(found):
                    assert isinstance(part, PretrainedModule)
                    part.save_pretrained(Path(folder) / f"{name}_{number}")
            elif isinstance(found, PretrainedModule) and name != "encoder":
                found.save_pretrained(Path(folder) / name)
