"""Leaf layers that every model shares; they import no model."""

from mimgen.layers.attention import attend, attention_backend
from mimgen.layers.blocks.beit import BeitBlock
from mimgen.layers.blocks.cross import CrossAttention, CrossBlock
from mimgen.layers.blocks.vit import VitBlock
from mimgen.layers.merge_schedule import merge_schedule, merge_schedule_to_keep
from mimgen.layers.merging import Merged, match, merge, unmerge, unmerge_by_source
from mimgen.layers.norm import ChannelRMSNorm, RMSNorm
from mimgen.layers.patch_embed import PatchEmbed
from mimgen.layers.rope import grid_ids, rotary_table, rotate

__all__ = [
    "BeitBlock",
    "ChannelRMSNorm",
    "CrossAttention",
    "CrossBlock",
    "Merged",
    "PatchEmbed",
    "RMSNorm",
    "VitBlock",
    "attend",
    "attention_backend",
    "grid_ids",
    "match",
    "merge",
    "merge_schedule",
    "merge_schedule_to_keep",
    "rotary_table",
    "rotate",
    "unmerge",
    "unmerge_by_source",
]
