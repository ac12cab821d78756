"""Saving modules to folders and loading whatever a folder holds.

The layout is that of diffusers: `config.json` with the constructor arguments and
`diffusion_pytorch_model.safetensors`. The base class is our own because importing diffusers takes longer than
generating an image.
"""

from __future__ import annotations

import functools
import importlib
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
from mimgen.ops.state_dicts import load_strictly

__all__ = [
    "WEIGHTS", "PretrainedModule",
    "class_name", "class_of", "load_pretrained", "load_strictly", "loadable", "read_config",
]  # fmt: skip

WEIGHTS = "diffusion_pytorch_model"

# Where a class lies whose folders do not say so: those that diffusers and transformers write under the names of
# official releases, and our own from before config.json had "_module". New classes need no line here.
_KNOWN: Mapping[str, str] = {
    "AutoencoderKL": "mimgen.tokenizers.diffusers_models:DiffusersKL",
    "CLIPTextModelWithProjection": "mimgen.encoders.clip:ClipTextEncoder",
    "Transformer2DModel": "mimgen.generators.meissonic.model:MeissonicTransformer",
    "VQModel": "mimgen.tokenizers.diffusers_models:DiffusersVQ",
    "BeitEncoder": "mimgen.encoders.beit:BeitEncoder",
    "BeitPretraining": "mimgen.methods.beitv2:BeitPretraining",
    "ByteTextEncoder": "mimgen.encoders.text:ByteTextEncoder",
    "CaeEncoder": "mimgen.methods.cae.networks:CaeEncoder",
    "CentroidTokenizer": "mimgen.tokenizers.centroids:CentroidTokenizer",
    "ConvTokenizer": "mimgen.tokenizers.conv:ConvTokenizer",
    "ConvVitEncoder": "mimgen.methods.dmjd.encoder:ConvVitEncoder",
    "CrossViewVit": "mimgen.methods.croco.encoder:CrossViewVit",
    "HiVitEncoder": "mimgen.encoders.hivit:HiVitEncoder",
    "LatentVit": "mimgen.methods.latentmim.networks:LatentVit",
    "LlamaGenVQ": "mimgen.tokenizers.llamagen.model:LlamaGenVQ",
    "MeissonicTransformer": "mimgen.generators.meissonic.model:MeissonicTransformer",
    "MergeVQ": "mimgen.tokenizers.mergevq.model:MergeVQ",
    "OpenMagvit2": "mimgen.tokenizers.magvit2.model:OpenMagvit2",
    "ResNetEncoder": "mimgen.encoders.resnet:ResNetEncoder",
    "SwinEncoder": "mimgen.encoders.swin:SwinEncoder",
    "SwinV2Encoder": "mimgen.encoders.swin_v2:SwinV2Encoder",
    "TiTok": "mimgen.tokenizers.titok.model:TiTok",
    "TiTokLegacy": "mimgen.tokenizers.titok.proxy:TiTokLegacy",
    "TiTokProxy": "mimgen.tokenizers.titok.proxy:TiTokProxy",
    "VitEncoder": "mimgen.encoders.vit:VitEncoder",
    "VolumeVit": "mimgen.methods.hiendmae.encoder:VolumeVit",
    "VqKd": "mimgen.tokenizers.vqkd.model:VqKd",
}


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
        kind = {"_class_name": type(self).__name__, "_module": type(self).__module__}
        config = {**kind, "_mimgen_version": __version__, **self.config}
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
        config, path = read_config(folder, cls.__name__), folder / "config.json"
        name = config.get("_class_name")
        # before a class was renamed its folders had the name that the table still has
        if "_mimgen_version" in config and name != cls.__name__ and _KNOWN.get(str(name)) != _position(cls):
            raise UserError(f"{folder} holds a {name}: pass the folder of a saved {cls.__name__}")
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


def load_pretrained(
    folder: str | Path, kind: Any = None, *, role: str = "model", variant: str | None = None
) -> Any:
    """Load the module that a folder holds, in evaluation mode and float32, whatever its class.

    Args:
        folder: as `save_pretrained`, diffusers or transformers wrote it.
        kind: what it must be: a class, a runtime-checkable protocol such as `mimgen.tokenizers.Tokenizer`, or a
            tuple of these; None for anything.
        role: what it is wanted for; named in errors.
        variant: reads `*.<variant>.safetensors`.

    Raises:
        UserError: no config.json, a class that is not known or not of `kind`, or files that do not load.
    """
    from safetensors import SafetensorError

    folder, wanted = Path(folder), kind if isinstance(kind, tuple) else (kind,) if kind is not None else ()
    found = class_of(folder)
    refusal = UserError(
        f"{folder} holds a {class_name(folder)}: as {role} a {' or '.join(each.__name__ for each in wanted)} is needed"
    )
    # a protocol is asked of the loaded module, for its attributes are not those of the class
    plain = [each for each in wanted if not getattr(each, "_is_protocol", False)]
    if wanted and len(plain) == len(wanted) and not issubclass(found, tuple(plain)):
        raise refusal
    try:
        # only classes of releases know variants
        module = found.from_pretrained(folder, **({} if variant is None else {"variant": variant}))
    except (SafetensorError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{folder} does not load ({error}): is it complete, and was it changed?") from error
    if wanted and not isinstance(module, wanted):
        raise refusal
    return module.eval()


def class_name(folder: Path) -> str:
    """The class that a folder's config.json names, ours or the official one; "?" where it names none.

    Raises:
        UserError: there is none, or it is not JSON.
    """
    config = read_config(folder)
    return str(config.get("_class_name") or (config.get("architectures") or ["?"])[0])


def class_of(folder: Path) -> Any:
    """The class whose `from_pretrained` reads a folder.

    Only modules of mimgen are imported, and only for a `PretrainedModule` or a class of the table above: a
    configuration from elsewhere must not be able to run code.

    Raises:
        UserError: no config.json, or a class that is not known.
    """
    name, module = class_name(folder), str(read_config(folder).get("_module", ""))
    position = f"{module}:{name}" if module.startswith("mimgen.") else _KNOWN.get(name, "")
    found = _import(position)
    if found is None and name in _KNOWN:  # of another version, in which the class lay elsewhere
        position, found = _KNOWN[name], _import(_KNOWN[name])
    if found is None or not (position in _KNOWN.values() or issubclass(found, PretrainedModule)):
        where = f" of {module}" if module else ""
        raise UserError(
            f"{folder / 'config.json'} is of a {name}{where}, which this version of mimgen does not know: pass the "
            "folder of a model that mimgen saved, or convert the release (`mimgen convert`)"
        )
    return found


def loadable(kind: type) -> bool:
    """Whether `load_pretrained` finds the class `kind` in a folder that it saved."""
    return _position(kind) in _KNOWN.values() or (
        issubclass(kind, PretrainedModule) and kind.__module__.startswith("mimgen.")
    )


def _position(kind: type) -> str:
    return f"{kind.__module__}:{kind.__name__}"


def _import(position: str) -> Any:
    """The class at "module:Class"; None where there is none."""
    module, _, name = position.partition(":")
    try:
        found = getattr(importlib.import_module(module), name, None) if module else None
    except ModuleNotFoundError as error:
        if not module.startswith(str(error.name)):
            raise  # a library is missing, which says more
        return None
    return found if isinstance(found, type) else None


def read_config(folder: Path, kind: str = "model") -> dict[str, Any]:
    """config.json of a folder; `kind` names in errors what is expected.

    Raises:
        UserError: there is none, or it is not a JSON dictionary.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no config.json: pass the folder of a saved {kind}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not the JSON of a saved {kind} ({error})") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} is not the JSON of a saved {kind} (it holds a {type(config).__name__})")
    return config


def _stored(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.to(dtype) if dtype is not None and value.is_floating_point() else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
