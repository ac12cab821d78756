"""Leaf layers that every model shares; they import no model."""

from mimgen.layers.attention import attend, attention_backend
from mimgen.layers.joint import JointBlock, SingleBlock
from mimgen.layers.norm import ChannelRMSNorm, RMSNorm
from mimgen.layers.rope import grid_ids, rotary_table, rotate

__all__ = [
    "ChannelRMSNorm",
    "JointBlock",
    "RMSNorm",
    "SingleBlock",
    "attend",
    "attention_backend",
    "grid_ids",
    "rotary_table",
    "rotate",
]
