"""The one strict comparison of a state dict with a module."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mimgen.errors import UserError

__all__ = ["differences", "load_strictly"]


def differences(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Keys with their shapes that are missing in a state dict, unexpected, or of another shape than the module's.

    Returns:
        "missing", "unexpected" and "shape mismatch" to lists, all of them empty where the state dict fits.
    """
    own = module.state_dict()
    return {
        "missing": [f"{key} {list(own[key].shape)}" for key in own if key not in tensors],
        "unexpected": [f"{key} {list(tensors[key].shape)}" for key in tensors if key not in own],
        "shape mismatch": [
            f"{key} {list(tensors[key].shape)} instead of {list(own[key].shape)}"
            for key in own
            if key in tensors and tensors[key].shape != own[key].shape
        ],
    }


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict; on any difference a `UserError` lists missing, unexpected and wrongly shaped keys."""
    found = "; ".join(
        f"{len(keys)} {kind}: {', '.join(keys[:5])}" for kind, keys in differences(module, tensors).items() if keys
    )
    if found:
        raise UserError(f"{source} does not fit {type(module).__name__}: {found}")
    module.load_state_dict(dict(tensors))
