"""From what the user calls an encoder to one that can be probed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.bundled import pipeline_folder
from mimgen.errors import UserError
from mimgen.files import path_like
from mimgen.pipelines.open import BUNDLED, find_pipeline, open_text_pipeline, trained_at

if TYPE_CHECKING:
    from torch import Tensor

    from mimgen.data import Dataset
    from mimgen.probing.cache import CachedFeatures
    from mimgen.probing.features import Encoder, Pooling

__all__ = ["ENCODER_SPECS", "LoadedEncoder", "default_cache", "features_of", "open_encoder"]

ENCODER_SPECS = """  pixels, pixels:PATCH        raw pixels: the whole image as one token, or patches of PATCH pixels
  hog, hog:PATCH              histograms of oriented gradients, likewise
  random-vit, random-vit:SEED an untrained vision transformer
  bundled                     the bundled generator; bundled-tokenizer: its tokenizer
  FOLDER                      of a run, a pipeline, an encoder of ours, a tokenizer (FOLDER@codes: its codes one-hot),
                              or a model of transformers
  hf:FOLDER                   a model of transformers: ViT, DeiT, MAE, BEiT, DINOv2, I-JEPA, CLIP
  timm:NAME                   a model of timm whose weights are in Hugging Face's cache;
                              timm:NAME@FILE.safetensors: with these weights; timm:NAME@random: untrained"""

_WORDS = ("pixels", "hog", "random-vit", BUNDLED, f"{BUNDLED}-tokenizer")
_USUAL = 64  # pixels for encoders that take any size


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder with what results say about it.

    Attributes:
        encoder: images [B, 3, H, W] in [0, 1] to `Tokens`; in evaluation mode, on the best device.
        name: short name for tables.
        pixels: side of the images it is measured at.
        digest: 16 hexadecimal digits that stand for its weights and settings.
        facts: JSON: source, kind, class, parameters, dim, depth, patch, attention (whether it has maps).
    """

    encoder: Encoder
    name: str
    pixels: int
    digest: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _FoundEncoder:
    encoder: Any
    name: str
    pixels: int
    kind: str
    settings: tuple[object, ...] = ()


def open_encoder(spec: str, pixels: int | None = None) -> LoadedEncoder:
    """The encoder meant by `spec`, on the best device.

    Args:
        spec: one of `ENCODER_SPECS`.
        pixels: side of the images; by default the one that the encoder was trained at, else 64.

    Raises:
        UserError: no such encoder (the message lists the forms), or a size that it does not take.
    """
    if pixels is not None and pixels < 1:
        raise UserError(f"--pixels {pixels}: give the side of the images in pixels, such as 64")
    word, _, rest = spec.partition(":")
    openers: dict[str, Callable[[str, int | None], _FoundEncoder]] = {
        "pixels": _plain, "hog": _plain, "random-vit": _random, "timm": _timm, "hf": _transformers,
    }  # fmt: skip
    if word in openers:
        found = openers[word](rest if word in ("timm", "hf", "random-vit") else spec, pixels)
    elif spec == BUNDLED:
        found = _generator(spec, pixels)
    elif spec == f"{BUNDLED}-tokenizer":
        find_pipeline(BUNDLED)
        found = _tokenizer(pipeline_folder() / "vqvae", pixels, spec)
    else:
        found = _folder(spec, pixels)
    return _opened(spec, found)


def default_cache() -> Path:
    """Where features are kept: $MIMGEN_CACHE/features, or ~/.cache/mimgen/features."""
    root = os.environ.get("MIMGEN_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "mimgen") / "features"


def features_of(
    loaded: LoadedEncoder,
    images: Tensor | Dataset,
    *,
    data: str | None = None,
    split: str | None = None,
    layers: Sequence[int] = (),
    pooling: Pooling = "mean",
    cache: Path | None = None,
    batch_size: int = 64,
    workers: int = 1,
    on_block: Callable[[int, int], None] = lambda done, total: None,
) -> CachedFeatures:
    """Features of images under an encoder, from the cache where they are there; see `mimgen.probing.cache`.

    Args:
        loaded: of `open_encoder`.
        images: [n, 3, H, W] in [0, 1], or a data set, of the encoder's size.
        data: what the user calls the data.
        split: part of it.
        layers: as of `mimgen.probing.extract`.
        pooling: as of `mimgen.probing.extract`.
        cache: folder of the cache; `default_cache()` when None.
        batch_size: images at a time.
        workers: processes.
        on_block: called with (images done, images in all).
    """
    from mimgen.probing.cache import cached_features, key_of

    key = key_of(
        images, model=loaded.name, weights=loaded.digest, data=data, split=split, layers=layers, pooling=pooling
    )
    if key.pixels != loaded.pixels:
        raise UserError(f"{loaded.name} was opened for {loaded.pixels} pixels, the images have {key.pixels}")
    return cached_features(
        cache or default_cache(), key, loaded.encoder, images,
        batch_size=batch_size, workers=workers, on_block=on_block,
    )  # fmt: skip


def _opened(spec: str, found: _FoundEncoder) -> LoadedEncoder:
    import inspect

    import torch

    from mimgen.encoders.digest import digest_of

    encoder = found.encoder
    if found.pixels % encoder.patch:
        nearest = max(1, round(found.pixels / encoder.patch)) * encoder.patch
        raise UserError(
            f"--pixels {found.pixels}: {spec} has patches of {encoder.patch} pixels, give a multiple such as {nearest}"
        )
    parameters = 0
    if isinstance(encoder, torch.nn.Module):
        encoder.eval().requires_grad_(False)
        parameters = sum(each.numel() for each in encoder.parameters())
        if torch.cuda.is_available():
            encoder.to("cuda")
    call = encoder.forward if isinstance(encoder, torch.nn.Module) else encoder
    facts = {
        "source": spec, "kind": found.kind, "class": type(encoder).__name__, "parameters": parameters,
        "dim": encoder.dim, "depth": encoder.depth, "patch": encoder.patch,
        "attention": "attention" in inspect.signature(call).parameters and getattr(encoder, "with_blocks", True),
    }  # fmt: skip
    settings = (found.kind, encoder.dim, encoder.depth, encoder.patch, *found.settings)
    return LoadedEncoder(encoder, found.name, found.pixels, digest_of(encoder, *settings), facts)


def _plain(spec: str, pixels: int | None) -> _FoundEncoder:
    from mimgen.encoders.plain import HogEncoder, PixelEncoder

    word, _, rest = spec.partition(":")
    patch, side = _integer(rest, spec), pixels or _USUAL
    encoder = PixelEncoder(side, patch) if word == "pixels" else HogEncoder(side, patch)
    return _FoundEncoder(encoder, spec, side, word, (side,))


def _random(rest: str, pixels: int | None) -> _FoundEncoder:
    import torch

    from mimgen.encoders import VitEncoder

    seed, side = _integer(rest, f"random-vit:{rest}") or 0, pixels or _USUAL
    if side % 4:
        raise UserError(f"--pixels {side}: the random ViT wants a multiple of 4, such as 64")
    patch = next((each for each in (16, 8) if side % each == 0 and side // each >= 8), 4)
    with torch.random.fork_rng(devices=[]):  # sampled on the CPU: the same weights on every machine
        torch.manual_seed(seed)
        encoder = VitEncoder(side, patch, width=192, depth=12, heads=3)
    name = f"random-vit:{seed}" if rest else "random-vit"
    return _FoundEncoder(encoder, name, side, "random vision transformer", (seed,))


def _timm(rest: str, pixels: int | None) -> _FoundEncoder:
    from mimgen.encoders.foreign_hf import usual_side
    from mimgen.encoders.foreign_timm import open_timm

    name, _, weights = rest.partition("@")
    encoder = open_timm(name, weights or None)
    label = f"timm:{name}" + (f"@{Path(weights).stem}" if weights else "")
    return _FoundEncoder(encoder, label, pixels or usual_side(encoder), "timm", (name,))


def _transformers(rest: str, pixels: int | None) -> _FoundEncoder:
    from mimgen.encoders.foreign_hf import open_transformers, usual_side

    encoder = open_transformers(rest)
    return _FoundEncoder(encoder, _name(Path(rest)), pixels or usual_side(encoder), encoder.kind, (encoder.settings,))


def _generator(spec: str, pixels: int | None) -> _FoundEncoder:
    from mimgen.generators import GeneratorEncoder

    pipeline = open_text_pipeline(spec)
    encoder = GeneratorEncoder(pipeline.transformer, pipeline.vqvae, pipeline.text_encoder)
    side = pixels or pipeline.preset.resolution[0]
    return _FoundEncoder(encoder, spec if spec == BUNDLED else _name(Path(spec)), side, "generator")


def _tokenizer(folder: Path, pixels: int | None, name: str, codes: bool = False) -> _FoundEncoder:
    from mimgen.tokenizers import TokenizerEncoder
    from mimgen.tokenizers.open import load_image_quantizer

    coder = load_image_quantizer(folder)
    side = pixels or trained_at(folder) or getattr(coder, "image_size", None)
    if side is None:
        raise UserError(f"{folder} does not say at which size it was trained; pass --pixels")
    encoder = TokenizerEncoder(coder, after="codes" if codes else "quantised")
    return _FoundEncoder(encoder, name + ("@codes" if codes else ""), int(side), "tokenizer", (encoder.after,))


def _folder(spec: str, pixels: int | None) -> _FoundEncoder:
    """A run, a pipeline, an encoder of ours, a model of transformers, or a tokenizer."""
    from mimgen.encoders import Encoder
    from mimgen.pretrained import load_pretrained
    from mimgen.tokenizers import ImageQuantizer

    path, _, after = spec.partition("@") if not Path(spec).exists() else (spec, "", "")
    root = Path(path)
    if not root.is_dir():
        raise UserError(f"no encoder {spec!r}{path_like(root, _WORDS)}; an encoder is one of\n{ENCODER_SPECS}")
    if after == "codes":
        return _tokenizer(root, pixels, _name(root), codes=True)
    if any((candidate / "model_index.json").is_file() for candidate in (root, root / "pipeline")):
        return _generator(spec, pixels)
    try:
        for candidate in (root, root / "encoder"):
            config = _config(candidate)
            if "model_type" in config and "_class_name" not in config:
                return _transformers(str(candidate), pixels)
            if not config:
                continue
            module = load_pretrained(candidate, (Encoder, ImageQuantizer), role="encoder")
            if isinstance(module, Encoder):
                made_for = config.get("image_size", config.get("pixels", trained_at(root)))
                side = made_for if isinstance(made_for, int) else max(made_for or [_USUAL])
                return _FoundEncoder(module, _name(candidate), pixels or side, "encoder")
        return _tokenizer(root, pixels, _name(root))
    except UserError as error:
        raise UserError(f"{spec} holds no encoder ({error}); an encoder is one of\n{ENCODER_SPECS}") from error


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    return config


def _name(folder: Path) -> str:
    """Last name of a path that says something."""
    common = ("encoder", "pipeline", "vqvae", "tokenizer")
    return folder.parent.name if folder.name in common and folder.parent.name else folder.name


def _integer(word: str, spec: str) -> int | None:
    """The number behind a colon, None where there is none."""
    if not word:
        return None
    if not word.isdecimal():
        raise UserError(f"{spec}: {word!r} is no whole number; an encoder is one of\n{ENCODER_SPECS}")
    return int(word)
