"""Low-rank adapters (Hu et al., arXiv 2106.09685) through peft: added, saved, loaded and merged.

Adapters sit inside the module, whose class stays as it is, so that everything that takes the module takes it
with adapters too. Files are peft's own: `PeftModel.from_pretrained(module, folder)` reads them, and what peft writes
is read here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.files import write_atomically

if TYPE_CHECKING:
    from peft import LoraConfig

Layers = Literal["attention", "blocks", "all"]

# which linear layers, by their names in the transformers of `mimgen.generators`
_NAMED: Mapping[str, str] = {
    "attention": r"\.attn\.",
    "blocks": r"\.attn\.|\.ff\.|\.ff_context\.|\.proj_mlp$|\.proj_out$",
    "all": "",
}
_ADAPTER = "default"  # peft's name for an adapter that nobody named
_PREFIX = "base_model.model."  # before every name in peft's files


@dataclass(frozen=True)
class Lora:
    """What is trained in the place of the weights: W + alpha / rank * B A, with B zero at first (equation 3).

    Attributes:
        rank: rows of A and columns of B.
        alpha: factor on the adapter, over the rank; as large as the rank when None, so that the factor is 1.
        layers: "attention", the projections around it; "blocks", the feed-forward layers besides; "all", every
            linear layer, with those of the conditions.
    """

    rank: int
    alpha: float | None = None
    layers: Layers = "blocks"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(f"lora rank {self.rank}: give at least 1, such as 8")
        if self.alpha is not None and self.alpha <= 0:
            raise UserError(f"lora alpha {self.alpha:g}: give a number above 0, such as the rank ({self.rank})")
        if self.layers not in _NAMED:
            raise UserError(f"lora layers {self.layers!r}: choose one of {', '.join(_NAMED)}")

    def names(self, module: nn.Module) -> list[str]:
        """Full names of the linear layers of `module` that get an adapter.

        Raises:
            UserError: there is none.
        """
        pattern = re.compile(_NAMED[self.layers])
        found = [
            name
            for name, part in module.named_modules()
            if isinstance(part, nn.Linear) and pattern.search(f".{name}")
        ]
        if not found:
            raise UserError(f"a {type(module).__name__} has no linear layer among {self.layers!r}: choose layers 'all'")
        return found


def add_lora(module: nn.Module, lora: Lora, *, seed: int = 0) -> None:
    """Freeze `module` and give it adapters to train; its outputs are the same as before, since B is zero.

    Args:
        module: changed in place.
        lora: which adapters.
        seed: of A; torch's global generator is left as it is.

    Raises:
        UserError: peft is not installed, or no layer is meant.
    """
    peft = _peft()
    config = peft.LoraConfig(r=lora.rank, lora_alpha=_alpha(lora), target_modules=lora.names(module))
    # peft takes no generator; it samples on the CPU, wherever the weights lie
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        _inject(module, config)


def save_adapter(module: nn.Module, lora: Lora, folder: str | Path) -> None:
    """Write the adapters of `module` as `adapter_config.json` and `adapter_model.safetensors` (peft's files)."""
    from safetensors.torch import save

    peft, folder = _peft(), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{_PREFIX}{name}": value.detach().cpu().contiguous()
        for name, value in peft.get_peft_model_state_dict(module, adapter_name=_ADAPTER).items()
    }
    names = sorted({name.removeprefix(_PREFIX).rsplit(".lora_", 1)[0] for name in tensors})
    config = peft.LoraConfig(r=lora.rank, lora_alpha=_alpha(lora), target_modules=names)
    write_atomically(folder / "adapter_model.safetensors", save(tensors, metadata={"format": "pt"}))
    stored = {name: sorted(value) if isinstance(value, set) else value for name, value in config.to_dict().items()}
    write_atomically(folder / "adapter_config.json", json.dumps(stored, indent=2, default=str) + "\n")


def load_adapter(module: nn.Module, folder: str | Path, *, strength: float = 1.0) -> None:
    """Merge a saved adapter into the weights of `module`; what learned before resumes learning.

    Args:
        module: what the adapter was trained on; changed in place, or not at all where the adapter is refused.
        folder: as `save_adapter` wrote it, or peft, whose files may name layers by their ends or by a pattern.
        strength: factor on the adapter; 0 leaves the weights as they are.

    Raises:
        UserError: peft is not installed, no adapter there, one of another model, or one that holds whole weights
            besides low-rank ones.
    """
    from safetensors.torch import load_file

    peft, folder = _peft(), Path(folder)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise UserError(f"{folder} holds no {name}: pass the folder of an adapter, such as <run>/adapter")
    config = _read_config(folder)
    stored = load_file(folder / "adapter_model.safetensors")
    saved = {name.removeprefix(_PREFIX): value for name, value in stored.items()}
    with _plain_afterwards(module):
        try:
            _inject(module, config)
        except ValueError as error:  # none of the layers is there, or one is of a kind that takes no adapter
            kind = type(module).__name__
            raise UserError(f"{folder} is the adapter of another model than this {kind}: {error}") from error
        _check_fit(peft.get_peft_model_state_dict(module, adapter_name=_ADAPTER), saved, folder)
        peft.set_peft_model_state_dict(module, saved, adapter_name=_ADAPTER)
        merge_lora(module, strength=strength)


def merge_lora(module: nn.Module, *, strength: float = 1.0) -> None:
    """Add every adapter to the weights beneath it and take it out: the module is a plain one again."""
    _peft()
    from peft.tuners.lora import LoraLayer

    for layer in module.modules():
        if isinstance(layer, LoraLayer):
            layer.scale_layer(strength)
            layer.merge()
    _take_out(module)


def _alpha(lora: Lora) -> float:
    return float(lora.rank if lora.alpha is None else lora.alpha)


def _inject(module: nn.Module, config: LoraConfig) -> None:
    from peft import inject_adapter_in_model

    module.requires_grad_(False)  # peft leaves alone what stands outside of the named layers
    inject_adapter_in_model(config, module, adapter_name=_ADAPTER)


def _take_out(module: nn.Module) -> None:
    """Put the layers beneath the adapters back in their positions, with the weights that they have."""
    from peft.tuners.lora import LoraLayer

    for name, layer in list(module.named_modules()):
        if isinstance(layer, LoraLayer):
            owner, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(owner), leaf, layer.get_base_layer())
    vars(module).pop("peft_config", None)  # by which peft recognises a model with adapters


@contextmanager
def _plain_afterwards(module: nn.Module) -> Iterator[None]:
    """Whatever happens in the block, no adapter is left behind, and the same weights as before are to learn."""
    learning = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    try:
        yield
    finally:
        _take_out(module)
        for parameter, learns in learning:
            parameter.requires_grad_(learns)


def _read_config(folder: Path) -> LoraConfig:
    """The content of peft's file, if it is of low-rank adapters alone."""
    peft = _peft()
    try:
        config = peft.LoraConfig.from_pretrained(str(folder))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{folder / 'adapter_config.json'} is not one that peft reads: {error}") from error
    if not isinstance(config, peft.LoraConfig) or config.modules_to_save or config.bias != "none":
        raise UserError(
            f"{folder} holds other weights than low-rank adapters ({config.peft_type}, modules_to_save or bias): merge "
            "it with peft, and save the whole model"
        )
    return config


def _check_fit(own: Mapping[str, Tensor], saved: Mapping[str, Tensor], folder: Path) -> None:
    wrong = sorted(own.keys() ^ saved.keys())
    wrong += [name for name in own if name in saved and own[name].shape != saved[name].shape]
    if wrong:
        raise UserError(f"{folder} is the adapter of another model: {len(wrong)} tensors differ, first {wrong[0]}")


def _peft() -> Any:
    """The library, which loads slowly."""
    try:
        import peft
    except ImportError as error:
        raise UserError("adapters need peft: pip install 'mimgen[lora]'") from error
    return peft
