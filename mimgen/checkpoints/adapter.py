"""From the state dict of an official release to a module of ours, and back.

An adapter is data: a map of names, tensors of another shape, what is left out and why, and how the sizes follow from
the tensors. Both directions read the same data, so official -> ours -> official is the identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimgen.checkpoints.keys import KeyMap, Reshape, matches
from mimgen.checkpoints.official import OfficialModel
from mimgen.checkpoints.read import Checkpoint
from mimgen.errors import UserError
from mimgen.ops.state_dicts import differences
from mimgen.pretrained import load_pretrained

__all__ = ["StateDictAdapter"]

SHOWN = 20  # differences named in the message; more go to a file
_IDENTITY = KeyMap()
# what `arguments` raise where the names and shapes that they read are not there
_NOT_THERE = (LookupError, AttributeError, TypeError, ValueError, ArithmeticError, RuntimeError, StopIteration)


@dataclass(frozen=True)
class StateDictAdapter:
    """An official release whose weights we read and write.

    Attributes:
        name: what the user types.
        about: one line: what it is and from where.
        kind: class of the module (of the encoder where there are `parts`), or classes by the official tensor whose
            presence tells them, tried in order; "" fits always.
        arguments: (official config, maybe empty; official tensors) -> constructor arguments of `kind`; those of a
            part lie under its name, as a list where there are several.
        keys: names; a function of all names (either side's) where they depend on one another.
        parts: classes of what a release has besides the encoder, such as {"decoder": MAEDecoder}.
        reshapes: tensors of another shape.
        ignored: templates of official tensors that are not ours -> the reason.
        copies: official tensors that equal another one, such as a tied head -> that one.
        fresh: templates of our tensors that the release may lack -> the constant they start with.
        prefixes: put in front of all names in some files of the release; dropped.
        makes: what `kind` makes, where it is a function.
        folder: converts a folder of several parts (one with model_index.json): (source, target) -> None.
    """

    name: str
    about: str
    kind: Callable[..., nn.Module] | Mapping[str, type[nn.Module]]
    arguments: Callable[[Mapping[str, Any], Mapping[str, Tensor]], dict[str, Any]]
    keys: KeyMap | Callable[[Iterable[str]], KeyMap] = _IDENTITY
    parts: Mapping[str, type[nn.Module]] = field(default_factory=dict)
    reshapes: tuple[Reshape, ...] = ()
    ignored: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)
    fresh: Mapping[str, float] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ()
    makes: type[nn.Module] | None = None
    folder: Callable[[Path, Path], None] | None = None

    def our_key(self, key: str) -> str | None:
        """Our name of an official tensor; None for one that is left out."""
        if (plain := self._plain(key)) is None:
            return None
        return self._map([key]).ours(plain)

    def canonical(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The official tensors that are ours, without prefixes: what `to_official` gives back."""
        return {plain: value for key, value in tensors.items() if (plain := self._plain(key)) is not None}

    def from_official(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our tensors by our names.

        Raises:
            UserError: two tensors of one name, or a copy that differs from what it should equal.
        """
        plain = self.canonical(tensors)
        keys, ours = self._map(plain), dict[str, Tensor]()
        for key, value in plain.items():
            name = keys.ours(key)
            if name in ours:
                raise UserError(f"two tensors are called {name} in {self.name}; one is {key}")
            shape = self._reshape(name)
            ours[name] = value if shape is None else shape.to_ours(value)
        for copy, source in self.copies.items():
            if copy in tensors and not torch.equal(tensors[copy], tensors[source]):
                raise UserError(f"{copy} differs from {source}, to which it is tied")
        return ours

    def to_official(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The official state dict of tensors of ours.

        Raises:
            UserError: it would not be read back as these tensors: they are of another architecture.
        """
        kept = {key: value for key, value in ours.items() if not self._is_fresh(key, value)}
        keys, official = self._map(kept), dict[str, Tensor]()
        for name, value in kept.items():
            shape = self._reshape(name)
            official[keys.official(name)] = value if shape is None else shape.to_official(value)
        back = self.from_official(official)
        if wrong := [name for name in kept if name not in back or not torch.equal(back[name], kept[name])]:
            raise UserError(f"{wrong[0]} is no tensor of {self.name}: was the model converted from this release?")
        return official | {copy: official[source] for copy, source in self.copies.items()}

    def make(self, arguments: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
        """The module of these arguments, with weights at random; `tensors` (official) tell its class."""
        kind: Any = self.kind
        if isinstance(kind, Mapping):
            kind = next(each for key, each in kind.items() if not key or key in tensors)
        module = kind(**{name: value for name, value in arguments.items() if name not in self.parts})
        if not self.parts:
            return module
        others: dict[str, Any] = {}
        for name, part in self.parts.items():
            given: Any = arguments.get(name)
            listed = isinstance(given, list)
            others[name] = [part(**each) for each in given] if listed else None if given is None else part(**given)
        return OfficialModel(module, **others)

    def build(self, checkpoint: Checkpoint, report: Path | None = None) -> Any:
        """The module with the weights of `checkpoint`, in evaluation mode.

        Args:
            checkpoint: its tensors and configuration.
            report: file for the full list of differences, written when there are more than 20.

        Raises:
            UserError: the checkpoint is of something else, or keys or shapes differ.
        """
        hint = "Is it this release, and is --config its configuration?"
        try:
            bare = {self._unprefixed(key): value for key, value in checkpoint.tensors.items()}
            module = self.make(self.arguments(checkpoint.config, bare), bare)
            tensors = self.from_official(checkpoint.tensors)
        except UserError as error:
            raise UserError(f"{checkpoint.path} does not make a {self.name}: {error}. {hint}") from error
        except _NOT_THERE as error:
            raise UserError(
                f"{checkpoint.path} is not {self.name} ({self.about}): {type(error).__name__} {error}. It holds "
                f"{', '.join(list(checkpoint.tensors)[:4])}, .... {hint}"
            ) from error
        own = module.state_dict()
        for key in own.keys() - tensors.keys():
            if template := matches(self.fresh, key):
                tensors[key] = torch.full_like(own[key], self.fresh[template])
        if any((found := differences(module, tensors)).values()):
            raise UserError(f"{checkpoint.path} does not fit {self.name}: {_complaint(found, report)}")
        module.load_state_dict(tensors)
        return module.eval()

    def load(self, folder: Path) -> nn.Module:
        """The module in a folder that `mimgen convert` wrote.

        Raises:
            UserError: the folder holds something else.
        """
        whole = OfficialModel.from_pretrained(folder, self.parts) if self.parts else None
        module = load_pretrained(folder) if whole is None else whole.encoder
        kind: Any = self.makes or self.kind
        classes = tuple(kind.values()) if isinstance(kind, Mapping) else (kind,)
        if type(module) not in classes:
            wanted = " or ".join(each.__name__ for each in classes)
            raise UserError(f"{folder} holds a {type(module).__name__}: {self.name} is a {wanted}")
        return whole or module

    def _map(self, names: Iterable[str]) -> KeyMap:
        return self.keys if isinstance(self.keys, KeyMap) else self.keys(names)

    def _unprefixed(self, key: str) -> str:
        for prefix in self.prefixes:
            key = key.removeprefix(prefix)
        return key

    def _plain(self, key: str) -> str | None:
        """An official name without prefix; None for a tensor that is left out."""
        key = self._unprefixed(key)
        return None if key in self.copies or matches(self.ignored, key) else key

    def _reshape(self, name: str) -> Reshape | None:
        return next((shape for shape in self.reshapes if matches((shape.key,), name)), None)

    def _is_fresh(self, name: str, value: Tensor) -> bool:
        template = matches(self.fresh, name)
        return template is not None and bool((value == self.fresh[template]).all())


def _complaint(found: Mapping[str, list[str]], report: Path | None) -> str:
    """Counts, the first differences, and where the others are."""
    counts = ", ".join(f"{len(lines)} {kind}" for kind, lines in found.items())
    lines = [f"{kind} {line}" for kind, each in found.items() for line in each]
    rest = f"\n  and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    if rest and report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text("\n".join(lines) + "\n", encoding="utf-8")
        rest += f"; all of them: {report}"
    listed = "".join(f"\n  {line}" for line in lines[:SHOWN])
    return f"{counts} keys. Is it this release, and is --config its configuration?{listed}{rest}"
