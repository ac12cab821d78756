"""Leaf layers that every model shares; they import no model."""

from mimgen.layers.attention import attend, attention_backend
from mimgen.layers.beit import BeitBlock
from mimgen.layers.cross import CrossAttention, CrossBlock
from mimgen.layers.joint import JointBlock, SingleBlock
from mimgen.layers.merging import Merged, match, merge, spread, unmerge
from mimgen.layers.norm import ChannelRMSNorm, RMSNorm
from mimgen.layers.patch_embed import PatchEmbed
from mimgen.layers.projection import projection_head
from mimgen.layers.removals import removals, removals_to_keep
from mimgen.layers.rope import grid_ids, rotary_table, rotate
from mimgen.layers.vit import VitBlock

__all__ = [
    "BeitBlock",
    "ChannelRMSNorm",
    "CrossAttention",
    "CrossBlock",
    "JointBlock",
    "Merged",
    "PatchEmbed",
    "RMSNorm",
    "SingleBlock",
    "VitBlock",
    "attend",
    "attention_backend",
    "grid_ids",
    "match",
    "merge",
    "projection_head",
    "removals",
    "removals_to_keep",
    "rotary_table",
    "rotate",
    "spread",
    "unmerge",
]
