"""Checkpoints of others: reading them safely, and official names to ours and back (`convert.convert`, `.revert`)."""

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.checkpoints.keys import KeyMap, Reshape
from mimgen.checkpoints.official import OfficialModel
from mimgen.checkpoints.read import Checkpoint, read_checkpoint

__all__ = ["Checkpoint", "KeyMap", "OfficialModel", "Reshape", "StateDictAdapter", "read_checkpoint"]
