"""The base of every saved part: a module that remembers its constructor's arguments.

A saved part is a folder in the layout of diffusers: `config.json` with the constructor arguments
and `diffusion_pytorch_model.safetensors`. The base class is our own because importing diffusers'
costs longer than generating an image.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from mimgen import __version__
from mimgen.errors import UserError
from mimgen.files import write_atomically

WEIGHTS = "diffusion_pytorch_model"


class PretrainedModule(nn.Module):
    """A module with `config`, `save_pretrained` and `from_pretrained`.

    Constructor arguments must be numbers, strings, booleans, None or tuples of these.
    """

    config: dict[str, Any]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = _recording(cls.__init__)  # type: ignore[method-assign]

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the parameters."""
        return next(self.parameters()).dtype

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write the part's folder; `dtype` (for example torch.bfloat16) shortens floating tensors.

        Each file is written under another name first, so that a crash leaves no half file.
        """
        from safetensors.torch import save

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: _stored(value, dtype) for name, value in self.state_dict().items()}
        write_atomically(folder / f"{WEIGHTS}.safetensors", save(tensors, metadata={"format": "pt"}))
        config = {"_class_name": type(self).__name__, "_mimgen_version": __version__, **self.config}
        write_atomically(folder / "config.json", json.dumps(config, indent=2) + "\n")

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, dtype: torch.dtype = torch.float32, variant: str | None = None
    ) -> Self:
        """Load a part in evaluation mode, strictly.

        Args:
            folder: as `save_pretrained` or diffusers wrote it.
            dtype: number format of the loaded floating tensors, whatever the file holds.
            variant: reads `diffusion_pytorch_model.<variant>.safetensors`.

        Raises:
            UserError: no such folder or file, another class, unknown arguments, or keys that do not fit.
        """
        from safetensors.torch import load_file

        folder = Path(folder)
        weights = folder / ".".join(filter(None, (WEIGHTS, variant, "safetensors")))
        part = cls(**cls._arguments(folder))
        if not weights.is_file():
            raise UserError(f"{weights} does not exist: is the folder complete?")
        load_strictly(part, load_file(weights), str(weights))
        return part.to(dtype).eval()

    @classmethod
    def _arguments(cls, folder: Path) -> dict[str, Any]:
        path = folder / "config.json"
        if not path.is_file():
            raise UserError(f"{folder} holds no config.json: pass the folder of a saved {cls.__name__}")
        config = json.loads(path.read_text(encoding="utf-8"))
        if "_mimgen_version" in config and config.get("_class_name") != cls.__name__:
            raise UserError(
                f"{folder} holds a {config.get('_class_name')}: pass the folder of a saved {cls.__name__}"
            )
        known = inspect.signature(cls.__init__).parameters
        unknown = [name for name in config if not name.startswith("_") and name not in known]
        if unknown:
            raise UserError(
                f"{path} is of a {config.get('_class_name', 'part')} and has {', '.join(unknown)}, which "
                f"{cls.__name__} does not take: pass the folder of a {cls.__name__}"
            )
        return {name: _tuples(value) for name, value in config.items() if not name.startswith("_")}


def _recording(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap a constructor so that it leaves its arguments, defaults included, in `config`."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapped(self: PretrainedModule, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        init(self, *args, **kwargs)
        self.config = {name: value for name, value in bound.arguments.items() if name != "self"}

    return wrapped


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict; on any difference a `UserError` lists missing, unexpected and wrongly shaped keys."""
    own = module.state_dict()
    problems = {
        "missing": [name for name in own if name not in tensors],
        "unexpected": [name for name in tensors if name not in own],
        "shape mismatch": [
            f"{name} {list(tensors[name].shape)} instead of {list(own[name].shape)}"
            for name in own
            if name in tensors and tensors[name].shape != own[name].shape
        ],
    }
    found = "; ".join(
        f"{len(names)} {kind}: {', '.join(names[:5])}" for kind, names in problems.items() if names
    )
    if found:
        raise UserError(f"{source} does not fit {type(module).__name__}: {found}")
    module.load_state_dict(dict(tensors))


def _stored(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.to(dtype) if dtype is not None and value.is_floating_point() else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
